package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/api"
	"github.com/orpheus-mesh/orpheus/node/control"
)

// problems says what is not well, why, and what to do about it.
func (s *server) problems(ctx context.Context) (out []control.Problem) {
	add := func(what string, why error, mend string) {
		if why != nil {
			out = append(out, control.Problem{What: what, Why: why.Error(), Mend: mend})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	add("container engine", s.engine.Ping(ctx), "start Docker Engine, or name its address with --docker; this node runs no new pods until then")
	add("replica", s.mesh.Store().Health(), "free space on the data directory or repair its disk; reads and running pods go on")
	if name := s.mesh.Store().Quarantined(); name != "" {
		add("replica", fmt.Errorf("the database was corrupt and lies in %s; it was rebuilt from peers", name), "check the disk; pods here that the mesh does not know keep running until you remove that file and restart the daemon")
	}
	for _, p := range s.mesh.Store().Poisoned() {
		add("replica", fmt.Errorf("the daemon died %d time(s) while it merged the record %.16s, which it skips until %s", p.Times, p.Hash, p.Until.Format(time.RFC3339)),
			"report it with the daemon's last words; the others may have the record, this server does not")
	}
	if lost, err := s.mesh.Store().Lost(ctx); err == nil && len(lost) > 0 {
		add("objects", fmt.Errorf("%d record(s) are in lost-and-found", len(lost)), "see `orpheus lost-and-found`, then admit or drop them")
	}
	if s.mesh.Banished() {
		add("mesh", errors.New("a person evicted this server: the others refuse it"), "save what was written only here with `orpheus backup FILE`, which another server can `orpheus restore`; then stop the daemon, empty "+
			s.cfg.DataDir+" and join again with a new token (`orpheus up --join TOKEN`)")
	}
	if hold, why := s.mesh.Hold(); hold {
		add("mesh", fmt.Errorf("%s", why), "check this server's link; decisions about others wait meanwhile")
	}
	if s.mesh.Slow() {
		add("mesh", fmt.Errorf("this server answers late, so it takes no decisions about others"), "look for a starved CPU or a bad link")
	}
	nodes := s.nodes(ctx)
	out = append(out, s.absences(nodes)...)
	out = append(out, s.unsteady()...)
	out = append(out, shortages(s.cfg.Name, nodes)...)
	if n := len(s.mesh.Store().Siblings()); n > 0 {
		add("objects", fmt.Errorf("%d object(s) were changed by two people at the same time", n), "see `orpheus conflicts` and write them once more")
	}
	for _, d := range s.disputes() {
		out = append(out, control.Problem{What: "service " + d.Loser.Service.String(), Why: contested(d), Mend: api.Mend(d)})
	}
	return append(out, s.roomProblems()...)
}

// absences are the servers that are missed, and those that a person fenced.
func (s *server) absences(nodes []corev1.Node) (out []control.Problem) {
	fenced := fencedNodes(nodes)
	for _, m := range s.mesh.Members() {
		if m.State != gossip.Failed && m.State != gossip.Suspect {
			continue
		}
		if card, ok := s.roster.ByName(m.Name); ok && card.ID != m.ID {
			continue // the former life of a server that was set up anew
		}
		p := control.Problem{What: "server " + m.Name, Why: fmt.Sprintf("%s for %s", m.State, time.Since(m.Since).Round(time.Second)),
			Mend: "bring it back; if it will not come back, `orpheus fence " + m.Name + "` replaces its pinned pods"}
		if since, ok := fenced[m.Name]; ok {
			p.Why += "; fenced since " + since + ": its pinned pods are replaced"
			p.Mend = "bring it back, then give it work again with `orpheus fence --lift " + m.Name + "`"
			delete(fenced, m.Name)
		}
		out = append(out, p)
	}
	for _, name := range slices.Sorted(maps.Keys(fenced)) {
		out = append(out, control.Problem{What: "server " + name, Why: "fenced since " + fenced[name] + ", so it gets no pods",
			Mend: "if it is well, `orpheus fence --lift " + name + "`"})
	}
	return out
}

// shortages are what this server runs short of, as its Node says.
func shortages(name string, nodes []corev1.Node) (out []control.Problem) {
	mends := map[corev1.NodeConditionType]string{
		corev1.NodeDiskPressure:   "free space there, for example with `docker system prune`",
		corev1.NodeMemoryPressure: "give pods here less, or drain this server",
		corev1.NodePIDPressure:    "look for what starts so many processes",
	}
	for _, n := range nodes {
		for _, c := range n.Status.Conditions {
			if mend := mends[c.Type]; n.Name == name && mend != "" && c.Status == corev1.ConditionTrue {
				out = append(out, control.Problem{What: "this server", Why: c.Message, Mend: mend + "; it gets no new pods until then"})
			}
		}
	}
	return out
}

// nodes are what the API says of all servers; none while it is not served yet.
func (s *server) nodes(ctx context.Context) []corev1.Node {
	if !s.ready.Load() {
		return nil
	}
	all, err := s.admin.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	return all.Items
}

// fencedNodes tells since when, by name.
func fencedNodes(nodes []corev1.Node) map[string]string {
	since := map[string]string{}
	for _, n := range nodes {
		if at, ok := n.Annotations[FenceAnnotation]; ok {
			since[n.Name] = at
		}
	}
	return since
}

// readable shows a stored object to a person, or says why it can't.
func (s *server) readable(k store.Key, body []byte) string {
	if len(body) == 0 {
		return ""
	}
	obj, err := runtime.Decode(legacyscheme.Codecs.UniversalDeserializer(), body)
	if err != nil {
		return fmt.Sprintf("(%d bytes that are encrypted or of an unknown kind)", len(body))
	}
	if _, secret := obj.(*corev1.Secret); secret {
		return "(a secret)"
	}
	info, _ := runtime.SerializerInfoForMediaType(legacyscheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
	text, err := runtime.Encode(legacyscheme.Codecs.EncoderForVersion(info.Serializer, obj.GetObjectKind().GroupVersionKind().GroupVersion()), obj)
	if err != nil {
		return fmt.Sprintf("(%d bytes of %s: %v)", len(body), k.Kind, err)
	}
	return string(text)
}
