package volumes

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	volumeutil "k8s.io/kubernetes/pkg/volume/util"
)

type tokenKey struct {
	pod          types.UID
	volume, path string
}

// token is a ServiceAccount token that is renewed when 80 % of its life are over, or a day has gone by.
type token struct {
	data  []byte
	renew time.Time
}

func (m *Manager) tokenFile(ctx context.Context, pod *corev1.Pod, volume string, p *corev1.ServiceAccountTokenProjection, mode int32) (payload, error) {
	key := tokenKey{pod.UID, volume, p.Path}
	m.mu.Lock()
	t, ok := m.tokens[key]
	m.mu.Unlock()
	if !ok || time.Now().After(t.renew) {
		fresh, err := m.request(ctx, pod, p)
		if err != nil {
			return nil, err
		}
		t = fresh
		m.mu.Lock()
		m.tokens[key] = t
		m.mu.Unlock()
	}
	user := commonUser(pod)
	if user != nil || fsGroup(pod) != nil {
		mode = 0o600
	}
	return payload{p.Path: volumeutil.FileProjection{Data: t.data, Mode: mode, FsUser: user}}, nil
}

func (m *Manager) request(ctx context.Context, pod *corev1.Pod, p *corev1.ServiceAccountTokenProjection) (token, error) {
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: p.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if p.Audience != "" {
		req.Spec.Audiences = []string{p.Audience}
	}
	res, err := m.cfg.Client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, req, metav1.CreateOptions{})
	if err != nil {
		return token{}, fmt.Errorf("token of service account %q: %w", pod.Spec.ServiceAccountName, err)
	}
	life := time.Until(res.Status.ExpirationTimestamp.Time)
	return token{[]byte(res.Status.Token), time.Now().Add(min(life*8/10, 24*time.Hour))}, nil
}

func (m *Manager) forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.tokens {
		if k.pod == uid {
			delete(m.tokens, k)
		}
	}
}

// commonUser is the user that all of a pod's containers run as, where it is one and known.
func commonUser(pod *corev1.Pod) *int64 {
	var user *int64
	if pod.Spec.SecurityContext != nil {
		user = pod.Spec.SecurityContext.RunAsUser
	}
	var common *int64
	for i := range pod.Spec.Containers {
		u := user
		if sc := pod.Spec.Containers[i].SecurityContext; sc != nil && sc.RunAsUser != nil {
			u = sc.RunAsUser
		}
		if u == nil || common != nil && *common != *u {
			return nil
		}
		common = u
	}
	return common
}
