package node

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

func TestAnObjectWithSiblingsIsToldOfOnceByItsHome(t *testing.T) {
	deployment := &store.Object{Key: store.Key{Kind: "apps/deployments", Namespace: "shop", Name: "cart"}, UID: "u", Author: "a",
		Others: []store.Sibling{{Author: "b", Time: 1_700_000_000_000}}}
	deployment.Bodies[store.Intent] = []byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"cart"}}`)
	secret := &store.Object{Key: store.Key{Kind: "core/secrets", Namespace: "shop", Name: "sealed"}, Author: "a", Others: []store.Sibling{{Author: "b", Delete: true}}}
	secret.Bodies[store.Intent] = []byte("\x00sealed")
	all, home := []*store.Object{deployment}, true
	var got []string
	c := &contention{
		siblings: func() []*store.Object { return all },
		mine:     func(string, string, string) bool { return home },
		nameOf:   func(author string) string { return "server-" + author },
		tell: func(about *corev1.ObjectReference, message string) {
			got = append(got, about.APIVersion+" "+about.Kind+" "+about.Name+": "+message)
		},
	}
	told := func(want ...string) {
		t.Helper()
		got = nil
		c.round()
		if len(got) != len(want) {
			t.Fatalf("told %q, want %q", got, want)
		}
		for i := range want {
			if !strings.HasPrefix(got[i], want[i]) {
				t.Errorf("told %q, want %q", got[i], want[i])
			}
		}
	}
	told("apps/v1 Deployment cart: changed by two people at the same time: the edit made at server-a is in force, an edit made at server-b (2023-11-14T22:13:20Z) is not. See `orpheus conflicts`")
	told() // nothing new
	all = append(all, secret)
	told("v1 Secret sealed: changed by two people at the same time: the edit made at server-a is in force, a deletion made at server-b")
	all = nil // settled
	told()
	all = []*store.Object{deployment}
	told("apps/v1 Deployment cart") // once more, by another pair of edits
	home = false
	deployment.Others = append(deployment.Others, store.Sibling{Author: "c"})
	told()
}
