package api

import (
	"slices"
	"strings"
	"sync"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// heard collects the warnings that a server sends.
type heard struct {
	mu    sync.Mutex
	texts []string
}

func (h *heard) HandleWarningHeader(_ int, _ string, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.texts = append(h.texts, text)
}

func (h *heard) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer func() { h.texts = nil }()
	return slices.Clone(h.texts)
}

// TestUnkeptPromisesAreSaid writes what nobody carries out: it is kept, and whoever writes it hears so.
func TestUnkeptPromisesAreSaid(t *testing.T) {
	w := start(t, onDisk(t))
	cfg := w.config(t, "admin", "system:masters")
	var said heard
	cfg.WarningHandler = &said
	c := must(kubernetes.NewForConfig(cfg))(t)
	port := []v1.ServicePort{{Port: 80}}
	for what, write := range map[string]func() error{
		"not enforced": func() error {
			_, err := c.NetworkingV1().NetworkPolicies("default").Create(t.Context(), &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "none"}}, metav1.CreateOptions{})
			return err
		},
		"nothing scales": func() error {
			h := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
				MaxReplicas: 3, ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}}}
			_, err := c.AutoscalingV2().HorizontalPodAutoscalers("default").Create(t.Context(), h, metav1.CreateOptions{})
			return err
		},
		"no load balancer": func() error {
			_, err := c.CoreV1().Services("default").Create(t.Context(), &v1.Service{ObjectMeta: metav1.ObjectMeta{Name: "outside"}, Spec: v1.ServiceSpec{Type: v1.ServiceTypeLoadBalancer, Ports: port}}, metav1.CreateOptions{})
			return err
		},
		"": func() error {
			_, err := c.CoreV1().Services("default").Create(t.Context(), &v1.Service{ObjectMeta: metav1.ObjectMeta{Name: "inside"}, Spec: v1.ServiceSpec{Ports: port}}, metav1.CreateOptions{})
			return err
		},
	} {
		if err := write(); err != nil {
			t.Errorf("%q: %v", what, err)
		}
		texts := said.take()
		if what == "" && len(texts) > 0 || what != "" && (len(texts) != 1 || !strings.Contains(texts[0], what)) {
			t.Errorf("want a warning with %q, got %q", what, texts)
		}
	}
}
