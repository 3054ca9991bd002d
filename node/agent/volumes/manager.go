package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubernetes/pkg/volume/util/subpath"
	"k8s.io/mount-utils"
)

// Config says where volumes live and where their content comes from.
type Config struct {
	Dir         string // absolute; made with mode 0711 where it is missing
	Node        string
	Client      kubernetes.Interface
	Allocatable func() corev1.ResourceList // stands in for limits that a downward API file asks for and the pod lacks
	Dead        func(types.UID) bool       // the object was deleted for certain, as opposed to not seen yet; nil: of nothing
	Log         *slog.Logger
}

// Manager sets volumes up and takes them down. Its methods may be called from any goroutine; calls for one pod must not
// overlap.
type Manager struct {
	cfg      Config
	mounter  mount.Interface
	subpaths subpath.Interface

	mu     sync.Mutex // guards tokens
	tokens map[tokenKey]token
}

// New makes a manager; it touches no disk yet.
func New(cfg Config) *Manager {
	m := mount.New("")
	return &Manager{cfg: cfg, mounter: m, subpaths: subpath.New(m), tokens: map[tokenKey]token{}}
}

// Mounted maps the names of a pod's volumes to their paths on the host.
type Mounted map[string]string

// PodDir is the host's directory of a pod.
func (m *Manager) PodDir(uid types.UID) string { return filepath.Join(m.cfg.Dir, "pods", string(uid)) }

func (m *Manager) volumeDir(uid types.UID, name string) string {
	return filepath.Join(m.PodDir(uid), "volumes", name)
}

// Setup makes every volume of the pod and fills it. It may be called again after an error or a restart; it then only adds
// what is missing. Errors name the volume and what it lacks; all are worth a retry.
func (m *Manager) Setup(ctx context.Context, pod *corev1.Pod) (Mounted, error) {
	if err := os.MkdirAll(filepath.Join(m.PodDir(pod.UID), "volumes"), 0o711); err != nil {
		return nil, fmt.Errorf("make volumes of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	out := Mounted{}
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		path, err := m.setupOne(ctx, pod, v)
		if err != nil {
			errs = append(errs, fmt.Errorf("volume %q: %w", v.Name, err))
			continue
		}
		out[v.Name] = path
	}
	return out, errors.Join(errs...)
}

func (m *Manager) setupOne(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (string, error) {
	dir := m.volumeDir(pod.UID, v.Name)
	switch {
	case v.EmptyDir != nil:
		return dir, m.emptyDir(pod, dir, v.EmptyDir)
	case v.HostPath != nil:
		return v.HostPath.Path, hostPath(v.HostPath)
	case v.PersistentVolumeClaim != nil:
		return m.claim(ctx, pod, v.PersistentVolumeClaim.ClaimName)
	case v.Ephemeral != nil:
		return m.claim(ctx, pod, pod.Name+"-"+v.Name)
	case sourced(v):
		return dir, m.fill(ctx, pod, v, dir)
	}
	return "", errors.New("this kind of volume is not supported: use emptyDir, hostPath, configMap, secret, projected, downwardAPI or persistentVolumeClaim")
}

// Refresh rewrites what changed at the sources of a running pod's configMap, secret, projected and downwardAPI volumes.
// Files that are the same are not touched.
func (m *Manager) Refresh(ctx context.Context, pod *corev1.Pod) error {
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if !sourced(v) {
			continue
		}
		if err := m.fill(ctx, pod, v, m.volumeDir(pod.UID, v.Name)); err != nil {
			errs = append(errs, fmt.Errorf("volume %q: %w", v.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Teardown unmounts and removes all that Setup and Bind made for a pod. Data of claims stays. It may be called again.
func (m *Manager) Teardown(uid types.UID) error {
	dir := m.PodDir(uid)
	if uid == "" {
		return errors.New("remove volumes: the pod has no UID")
	}
	mounts, err := m.mounter.List()
	if err != nil {
		return fmt.Errorf("remove volumes of pod %s: %w", uid, err)
	}
	for i := len(mounts) - 1; i >= 0; i-- { // what was mounted last goes first
		if within(dir, mounts[i].Path) {
			if err := m.mounter.Unmount(mounts[i].Path); err != nil {
				return fmt.Errorf("remove volumes of pod %s: %w", uid, err)
			}
		}
	}
	m.forget(uid)
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove volumes of pod %s: %w", uid, err)
	}
	return nil
}

func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// Pods lists the pods that have a directory here, living or not.
func (m *Manager) Pods() ([]types.UID, error) {
	entries, err := os.ReadDir(filepath.Join(m.cfg.Dir, "pods"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list pods with volumes: %w", err)
	}
	var out []types.UID
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, types.UID(e.Name()))
		}
	}
	return out, nil
}
