package controllers

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestGuardRefuses(t *testing.T) {
	const pods, ns = "/api/v1/namespaces/shop/pods", "/api/v1/namespaces/shop"
	finalizers := `{"metadata":{"resourceVersion":"7","finalizers":["x"]}}`
	owners := `{"metadata":{"ownerReferences":[{"$patch":"delete","uid":"u"}],"uid":"v"}}`
	for name, c := range map[string]struct {
		who, method, path, body string
		unsettled, held, fenced bool
		want                    int // 0: passes
	}{
		"a calm delete":                           {who: "replicaset-controller", method: "DELETE", path: pods + "/mine"},
		"a delete before reconciliation":          {who: "replicaset-controller", method: "DELETE", path: pods + "/mine", unsettled: true, want: 429},
		"a delete in mass absence":                {who: "statefulset-controller", method: "DELETE", path: pods + "/mine", held: true, want: 429},
		"a namespace's contents, unsettled":       {who: "namespace-controller", method: "DELETE", path: pods, unsettled: true, want: 429},
		"a creation before reconciliation":        {who: "replicaset-controller", method: "POST", path: pods, unsettled: true},
		"a status before reconciliation":          {who: "replicaset-controller", method: "PUT", path: "/apis/apps/v1/namespaces/shop/replicasets/mine/status", unsettled: true},
		"own derived objects at any time":         {who: garbageCollector, method: "DELETE", path: "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/theirs", unsettled: true},
		"garbage of this home":                    {who: garbageCollector, method: "DELETE", path: pods + "/mine"},
		"garbage of another home":                 {who: garbageCollector, method: "DELETE", path: pods + "/theirs", want: 409},
		"an owner of another home let go":         {who: garbageCollector, method: "PATCH", path: "/apis/apps/v1/namespaces/shop/deployments/theirs", body: finalizers, want: 409},
		"an own owner let go":                     {who: garbageCollector, method: "PATCH", path: "/apis/apps/v1/namespaces/shop/deployments/mine", body: finalizers},
		"an own owner let go, unsettled":          {who: garbageCollector, method: "PATCH", path: "/apis/apps/v1/namespaces/shop/deployments/mine", body: finalizers, unsettled: true, want: 429},
		"a foreign dependent orphaned":            {who: garbageCollector, method: "PATCH", path: pods + "/theirs", body: owners},
		"a foreign namespace collected":           {who: garbageCollector, method: "DELETE", path: "/api/v1/namespaces/theirs", want: 409},
		"a foreign pod's finalizer":               {who: jobController, method: "PATCH", path: pods + "/theirs", body: finalizers, want: 409},
		"an own pod's finalizer":                  {who: jobController, method: "PATCH", path: pods + "/mine", body: finalizers},
		"a foreign pod's condition":               {who: disruptionController, method: "PUT", path: pods + "/theirs/status", want: 409},
		"an own budget":                           {who: disruptionController, method: "PUT", path: "/apis/policy/v1/namespaces/shop/poddisruptionbudgets/mine/status"},
		"the invented status of a fenced pod":     {who: disruptionController, method: "PUT", path: pods + "/mine/status", fenced: true, want: 409},
		"the spec of a pod on a fenced host":      {who: "statefulset-controller", method: "PUT", path: pods + "/mine", fenced: true},
		"reading":                                 {who: garbageCollector, method: "GET", path: pods + "/theirs", unsettled: true},
		"what is no object":                       {who: garbageCollector, method: "DELETE", path: "/version", unsettled: true},
		"finalizing a namespace, while unsettled": {who: "namespace-controller", method: "PUT", path: ns + "/finalize", unsettled: true},
	} {
		t.Run(name, func(t *testing.T) {
			var passed string
			g := &guard{who: c.who, altered: func(_, _ string) bool { return c.fenced }, config: Config{
				Mine:    func(_, _, name string) bool { return name != "theirs" },
				Settled: func() bool { return !c.unsettled }, Hold: func() (bool, string) { return c.held, "half of the mesh is away" },
			}, next: roundTrip(func(r *http.Request) (*http.Response, error) {
				b, _ := io.ReadAll(r.Body)
				passed = string(b)
				return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
			})}
			r, err := http.NewRequest(c.method, "http://api"+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			answer, err := g.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(answer.Body)
			switch {
			case c.want == 0 && (answer.StatusCode != 200 || passed != c.body):
				t.Errorf("refused with %d %s, or its body %q was lost", answer.StatusCode, body, passed)
			case c.want != 0 && (answer.StatusCode != c.want || !strings.Contains(string(body), `"message"`) || answer.Header.Get("Retry-After") != ""):
				t.Errorf("answered %d %s, want %d with a reason and no Retry-After", answer.StatusCode, body, c.want)
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestParseTarget(t *testing.T) {
	for path, want := range map[string]target{
		"/api/v1/namespaces/a":                           {"core/namespaces", "", "a", ""},
		"/api/v1/namespaces/a/finalize":                  {"core/namespaces", "", "a", "finalize"},
		"/api/v1/namespaces/a/status":                    {"core/namespaces", "", "a", "status"},
		"/api/v1/namespaces/a/pods":                      {"core/pods", "a", "", ""},
		"/api/v1/namespaces/a/pods/p/binding":            {"core/pods", "a", "p", "binding"},
		"/api/v1/nodes/n":                                {"core/nodes", "", "n", ""},
		"/apis/apps/v1/namespaces/a/deployments/d/scale": {"apps/deployments", "a", "d", "scale"},
		"/apis/scheduling.k8s.io/v1/priorityclasses/p":   {"scheduling.k8s.io/priorityclasses", "", "p", ""},
	} {
		if got, ok := parseTarget(path); !ok || got != want {
			t.Errorf("%s is %+v, want %+v", path, got, want)
		}
	}
}
