package controllers

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// guard is the door through which a controller writes. It refuses what a controller may only want because it believes to
// be alone: destruction while this node's picture is not whole (429, without a time to wait: upstream's own back-off and
// the poke at the end decide), and the garbage collector's and Job controller's writes to objects of another home (409),
// whose own node does the same.
type guard struct {
	next    http.RoundTripper
	who     string
	config  Config
	altered func(namespace, pod string) bool // a lens changed this pod: what was read is not what is
}

func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	refusal := g.judge(r)
	if refusal == nil {
		return g.next.RoundTrip(r)
	}
	if r.Body != nil {
		_ = r.Body.Close()
	}
	body, err := json.Marshal(refusal)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		Status: http.StatusText(int(refusal.Code)), StatusCode: int(refusal.Code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}, nil
}

func (g *guard) judge(r *http.Request) *metav1.Status {
	if r.Method == http.MethodGet || r.Method == http.MethodPost {
		return nil
	}
	t, ok := parseTarget(r.URL.Path)
	if !ok || derived(t.kind) {
		return nil
	}
	if t.kind == "core/pods" && t.sub == "status" && g.altered(t.namespace, t.name) {
		return refuse(http.StatusConflict, metav1.StatusReasonConflict, t.name+" is shown Failed to its controllers because its host was fenced; its own status is not theirs to write")
	}
	destroys := r.Method == http.MethodDelete
	foreign := !g.config.Mine(t.kind, t.namespace, t.name)
	switch g.who {
	case garbageCollector:
		// Taking an owner's reference off its dependents is safe to do twice and has to be done at the owner's home, which
		// may not be the dependent's; letting the owner go is its home's word alone.
		finalizes := r.Method == http.MethodPatch && finalizing(r)
		destroys = destroys || r.Method == http.MethodPatch
		if foreign && (r.Method == http.MethodDelete || finalizes) {
			return refuse(http.StatusConflict, metav1.StatusReasonConflict, t.kind+" "+t.namespace+"/"+t.name+" is collected at its own home")
		}
	case jobController, disruptionController:
		if foreign && t.kind == "core/pods" && !destroys {
			return refuse(http.StatusConflict, metav1.StatusReasonConflict, "pod "+t.namespace+"/"+t.name+" is cared for at its own home")
		}
	}
	if destroys {
		if ok, why := g.config.calm(); !ok {
			return refuse(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, why)
		}
	}
	return nil
}

// derived kinds are computed by each node for itself: its own garbage is its own.
func derived(kind string) bool {
	return kind == "discovery.k8s.io/endpointslices" || kind == "coordination.k8s.io/leases" ||
		kind == "core/events" || kind == "events.k8s.io/events"
}

// finalizing reads whether a patch touches finalizers, and puts the body back.
func finalizing(r *http.Request) bool {
	if r.Body == nil {
		return false
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	_ = r.Body.Close()
	r.Body = io.NopCloser(bytes.NewReader(body))
	return err != nil || bytes.Contains(body, []byte(`"finalizers"`))
}

func refuse(code int32, reason metav1.StatusReason, message string) *metav1.Status {
	return &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: code, Reason: reason, Message: guardMark + message,
	}
}

// target is what a request path names.
type target struct{ kind, namespace, name, sub string }

// parseTarget reads /api/v1/… and /apis/GROUP/VERSION/… paths.
func parseTarget(path string) (target, bool) {
	part := strings.Split(strings.Trim(path, "/"), "/")
	var t target
	switch {
	case len(part) >= 3 && part[0] == "api":
		t.kind, part = "core/", part[2:]
	case len(part) >= 4 && part[0] == "apis":
		t.kind, part = part[1]+"/", part[3:]
	default:
		return target{}, false
	}
	if part[0] == "namespaces" && len(part) >= 3 && part[2] != "status" && part[2] != "finalize" {
		t.namespace, part = part[1], part[2:]
	}
	t.kind += part[0]
	if len(part) > 1 {
		t.name = part[1]
	}
	if len(part) > 2 {
		t.sub = part[2]
	}
	return t, true
}
