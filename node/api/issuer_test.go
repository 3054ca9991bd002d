package api

import (
	"context"
	"crypto"
	"errors"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// Two nodes of which the second has not heard of the first one's pod and account: it asks the first, but neither where it knows
// better nor for what the first did not sign.
func TestATokenWhosePodIsNotHereYetIsCheckedWithItsIssuer(t *testing.T) {
	near := start(t, onDisk(t))
	key := near.cfg.TokenKey.Public()
	id := must(KeyID(key))(t)
	cfg, air := testConfig(t, onDisk(t))
	cfg.TokenKeys = func() map[string]crypto.PublicKey { return map[string]crypto.PublicKey{id: key} }
	asked, reachable := 0, true
	cfg.AskIssuer = func(ctx context.Context, keyID string, question []byte) ([]byte, error) {
		if asked++; keyID != id {
			t.Errorf("the bearer of key %s was asked", keyID)
		}
		if !reachable {
			return nil, errors.New("out of reach")
		}
		return near.ReviewToken(ctx, question)
	}
	far := startWith(t, cfg, air)

	account := func(c kubernetes.Interface) *v1.ServiceAccount {
		return must(c.CoreV1().ServiceAccounts("default").Create(t.Context(), &v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}))(t)
	}
	c := near.admin(t)
	account(c)
	pod := must(c.CoreV1().Pods("default").Create(t.Context(), aPod("p", func(p *v1.Pod) { p.Spec.ServiceAccountName = "robot" }), metav1.CreateOptions{}))(t)
	token := boundToken(t, c, &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID})
	eventually(t, "accounts may ask who they are", func() bool {
		who, err := far.whoami(t, token)
		return err == nil && who == "system:serviceaccount:default:robot"
	})
	if asked == 0 {
		t.Error("nobody was asked")
	}

	before := asked
	if _, err := far.whoami(t, token[:len(token)-4]+"AAAA"); !apierrors.IsUnauthorized(err) || asked != before {
		t.Errorf("a forged signature gets %v after %d questions", err, asked-before)
	}
	reachable = false
	if _, err := far.whoami(t, token); !apierrors.IsUnauthorized(err) {
		t.Errorf("with the issuer out of reach it gets %v, want 401", err)
	}
	reachable = true
	if err := c.CoreV1().Pods("default").Delete(t.Context(), "p", metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		t.Fatal(err)
	}
	if _, err := far.whoami(t, token); !apierrors.IsUnauthorized(err) {
		t.Errorf("when its issuer knows that the pod is gone it gets %v, want 401", err)
	}
}

// What this node knows dead is dead, whatever an issuer says that has not heard of it.
func TestAnIssuersWordRevivesNothing(t *testing.T) {
	h := &hearsay{dead: func(uid string) bool { return uid == "gone" }}
	var c claims
	c.Bound.Account.UID, c.Bound.Pod = "account", &reference{UID: "pod"}
	for _, row := range []struct {
		name string
		pod  reference
		seen []string
		open bool
	}{
		{"nothing is here", reference{"pod"}, nil, true},
		{"the account is here, the pod is not", reference{"pod"}, []string{"account"}, true},
		{"another pod of that name is here", reference{"pod"}, []string{"account", "older"}, true},
		{"all is here", reference{"pod"}, []string{"account", "pod"}, false},
		{"the pod is known dead", reference{"gone"}, []string{"account"}, false},
	} {
		seen := &sightings{found: map[types.UID]bool{}}
		for _, uid := range row.seen {
			seen.note(types.UID(uid))
		}
		c.Bound.Pod = &row.pod
		if got := h.open(c, seen); got != row.open {
			t.Errorf("%s: open %t", row.name, got)
		}
	}
}
