package api

import (
	"net/http"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestWhoIsLetIn(t *testing.T) {
	w := start(t, onDisk(t))
	admin := w.admin(t)
	stranger := clientOf(t, rest.AnonymousClientConfig(w.config(t, "x")))
	if _, err := stranger.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("a stranger who lists pods gets %v, want 401", err)
	}
	for _, path := range []string{"/livez", "/readyz", "/healthz", "/version"} {
		var code int
		if err := stranger.Discovery().RESTClient().Get().AbsPath(path).Do(t.Context()).StatusCode(&code).Error(); err != nil || code != http.StatusOK {
			t.Errorf("a stranger who asks %s gets %d, %v", path, code, err)
		}
	}
	forger := rest.AnonymousClientConfig(w.config(t, "x"))
	forger.BearerToken = "not.a.token"
	if _, err := clientOf(t, forger).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("a forged token gets %v, want 401", err)
	}

	alice := w.as(t, "alice", "developers")
	if _, err := alice.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("alice without a role gets %v, want 403", err)
	}
	must(admin.RbacV1().Roles("default").Create(t.Context(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list"}}},
	}, metav1.CreateOptions{}))(t)
	must(admin.RbacV1().RoleBindings("default").Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Subjects:   []rbacv1.Subject{{Kind: "Group", Name: "developers", APIGroup: rbacv1.GroupName}},
		RoleRef:    rbacv1.RoleRef{Kind: "Role", Name: "reader", APIGroup: rbacv1.GroupName},
	}, metav1.CreateOptions{}))(t)
	eventually(t, "alice may list ConfigMaps by her group's role", func() bool {
		_, err := alice.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
		return err == nil
	})
	if err := alice.CoreV1().ConfigMaps("default").Delete(t.Context(), "x", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("alice who deletes gets %v, want 403", err)
	}
	if _, err := alice.CoreV1().ConfigMaps("kube-system").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("alice in another namespace gets %v, want 403", err)
	}
}

// whoami is the name that a bearer token speaks for, or the error.
func (w *world) whoami(t *testing.T, token string) (string, error) {
	t.Helper()
	cfg := rest.AnonymousClientConfig(w.config(t, "x"))
	cfg.BearerToken = token
	r, err := clientOf(t, cfg).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return r.Status.UserInfo.Username, nil
}

func boundToken(t *testing.T, c kubernetes.Interface, bound *authenticationv1.BoundObjectReference) string {
	t.Helper()
	r := must(c.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "robot", &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bound},
	}, metav1.CreateOptions{}))(t)
	return r.Status.Token
}

func TestServiceAccountTokensDieWithWhatTheyAreBoundTo(t *testing.T) {
	w := start(t, onDisk(t))
	c := w.admin(t)
	must(c.CoreV1().ServiceAccounts("default").Create(t.Context(), &v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}))(t)
	pod := must(c.CoreV1().Pods("default").Create(t.Context(), aPod("p", func(p *v1.Pod) { p.Spec.ServiceAccountName = "robot" }), metav1.CreateOptions{}))(t)
	free := boundToken(t, c, nil)
	bound := boundToken(t, c, &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID})
	eventually(t, "the account may ask who it is", func() bool { _, err := w.whoami(t, free); return err == nil })
	for name, token := range map[string]string{"free": free, "bound": bound} {
		if who, err := w.whoami(t, token); err != nil || who != "system:serviceaccount:default:robot" {
			t.Errorf("the %s token speaks for %q, %v", name, who, err)
		}
	}
	if err := c.CoreV1().Pods("default").Delete(t.Context(), "p", metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.whoami(t, bound); !apierrors.IsUnauthorized(err) {
		t.Errorf("the token of a deleted pod gets %v, want 401", err)
	}
	if _, err := w.whoami(t, free); err != nil {
		t.Errorf("the free token died with the pod: %v", err)
	}
	if err := c.CoreV1().ServiceAccounts("default").Delete(t.Context(), "robot", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.whoami(t, free); !apierrors.IsUnauthorized(err) {
		t.Errorf("the token of a deleted account gets %v, want 401", err)
	}
}

func TestTheLoopbackSpeaksForControllers(t *testing.T) {
	w := start(t, onDisk(t))
	cfg := w.Loopback()
	r := must(clientOf(t, cfg).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{}))(t)
	if r.Status.UserInfo.Username != "system:apiserver" {
		t.Errorf("the loopback is %v", r.Status.UserInfo)
	}
	cfg.Impersonate = rest.ImpersonationConfig{UserName: collector, Groups: []string{"system:masters"}}
	r = must(clientOf(t, cfg).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{}))(t)
	if r.Status.UserInfo.Username != collector {
		t.Errorf("impersonated, the loopback is %v", r.Status.UserInfo)
	}
}
