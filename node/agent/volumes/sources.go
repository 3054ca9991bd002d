package volumes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/volume"
	"k8s.io/kubernetes/pkg/volume/configmap"
	"k8s.io/kubernetes/pkg/volume/downwardapi"
	"k8s.io/kubernetes/pkg/volume/secret"
	volumeutil "k8s.io/kubernetes/pkg/volume/util"
)

type payload = map[string]volumeutil.FileProjection

// sourced tells whether a volume's files come from the API.
func sourced(v *corev1.Volume) bool {
	return v.ConfigMap != nil || v.Secret != nil || v.Projected != nil || v.DownwardAPI != nil
}

// fill writes a volume's files, all at once, where any of them changed. Everything that may hold a secret is in memory.
func (m *Manager) fill(ctx context.Context, pod *corev1.Pod, v *corev1.Volume, dir string) error {
	files, err := m.payload(ctx, pod, v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if v.ConfigMap == nil {
		if _, err := m.tmpfs(dir, nil); err != nil {
			return err
		}
	}
	w, err := volumeutil.NewAtomicWriter(dir, fmt.Sprintf("pod %s/%s volume %s", pod.Namespace, pod.Name, v.Name))
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if err := w.Write(files, func(sub string) error { return own(filepath.Join(dir, sub), fsGroup(pod)) }); err != nil {
		return err
	}
	// Containers only read the volume: where others are mounted in it the engine could not make their mount points.
	return volumeutil.MakeNestedMountpoints(v.Name, dir, *pod)
}

func (m *Manager) payload(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (payload, error) {
	switch {
	case v.ConfigMap != nil:
		return m.configMap(ctx, pod, v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.DefaultMode, truth(v.ConfigMap.Optional))
	case v.Secret != nil:
		return m.secret(ctx, pod, v.Secret.SecretName, v.Secret.Items, v.Secret.DefaultMode, truth(v.Secret.Optional))
	case v.DownwardAPI != nil:
		return m.downward(pod, v.DownwardAPI.Items, v.DownwardAPI.DefaultMode)
	}
	return m.projected(ctx, pod, v)
}

func truth(b *bool) bool { return b != nil && *b }

func (m *Manager) configMap(ctx context.Context, pod *corev1.Pod, name string, items []corev1.KeyToPath, mode *int32, optional bool) (payload, error) {
	cm, err := m.cfg.Client.CoreV1().ConfigMaps(pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && optional {
		cm, err = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("configmap %q: %w", name, err)
	}
	return configmap.MakePayload(items, cm, orDefault(mode), optional)
}

func (m *Manager) secret(ctx context.Context, pod *corev1.Pod, name string, items []corev1.KeyToPath, mode *int32, optional bool) (payload, error) {
	s, err := m.cfg.Client.CoreV1().Secrets(pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && optional {
		s, err = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", name, err)
	}
	return secret.MakePayload(items, s, orDefault(mode), optional)
}

func orDefault(mode *int32) *int32 {
	if mode != nil {
		return mode
	}
	d := int32(0o644)
	return &d
}

// host lends upstream's collector the one thing that it asks of a kubelet.
type host struct {
	volume.VolumeHost
	allocatable func() corev1.ResourceList
}

func (h host) GetNodeAllocatable() (corev1.ResourceList, error) {
	if h.allocatable == nil {
		return nil, errors.New("the host's capacity is not known yet")
	}
	return h.allocatable(), nil
}

func (m *Manager) downward(pod *corev1.Pod, items []corev1.DownwardAPIVolumeFile, mode *int32) (payload, error) {
	return downwardapi.CollectData(items, pod, host{allocatable: m.cfg.Allocatable}, orDefault(mode))
}

func (m *Manager) projected(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (payload, error) {
	out, mode := payload{}, orDefault(v.Projected.DefaultMode)
	var errs []error
	for i := range v.Projected.Sources {
		s := &v.Projected.Sources[i]
		var part payload
		var err error
		switch {
		case s.ConfigMap != nil:
			part, err = m.configMap(ctx, pod, s.ConfigMap.Name, s.ConfigMap.Items, mode, truth(s.ConfigMap.Optional))
		case s.Secret != nil:
			part, err = m.secret(ctx, pod, s.Secret.Name, s.Secret.Items, mode, truth(s.Secret.Optional))
		case s.DownwardAPI != nil:
			part, err = m.downward(pod, s.DownwardAPI.Items, mode)
		case s.ServiceAccountToken != nil:
			part, err = m.tokenFile(ctx, pod, v.Name, s.ServiceAccountToken, *mode)
		default:
			err = fmt.Errorf("projected.sources[%d]: only configMap, secret, downwardAPI and serviceAccountToken are supported", i)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		maps.Copy(out, part)
	}
	return out, errors.Join(errs...)
}
