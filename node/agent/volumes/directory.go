package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// emptyDir makes a scratch directory that everyone may write to, on disk or in memory.
func (m *Manager) emptyDir(pod *corev1.Pod, dir string, e *corev1.EmptyDirVolumeSource) error {
	_, err := os.Stat(dir)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	switch e.Medium {
	case corev1.StorageMediumDefault:
	case corev1.StorageMediumMemory:
		var opts []string
		if e.SizeLimit != nil && !e.SizeLimit.IsZero() {
			opts = append(opts, fmt.Sprintf("size=%d", e.SizeLimit.Value()))
		}
		mounted, err := m.tmpfs(dir, opts)
		if err != nil {
			return err
		}
		fresh = fresh || mounted
	default:
		return fmt.Errorf("emptyDir.medium %q is not supported: use \"\" or Memory", e.Medium)
	}
	if !fresh {
		return nil
	}
	if err := os.Chmod(dir, 0o777); err != nil { // the umask took bits from MkdirAll
		return err
	}
	return own(dir, fsGroup(pod))
}

// tmpfs mounts memory on dir unless it is mounted already, and tells whether it did.
func (m *Manager) tmpfs(dir string, opts []string) (mounted bool, err error) {
	there, err := m.mounter.IsMountPoint(dir)
	if err != nil {
		return false, fmt.Errorf("look for a mount on %s: %w", dir, err)
	}
	if there {
		return false, nil
	}
	if err := m.mounter.Mount("tmpfs", dir, "tmpfs", opts); err != nil {
		return false, fmt.Errorf("mount memory on %s: %w", dir, err)
	}
	return true, nil
}

// hostPath checks or makes what the pod expects on the host (KEP-less since Kubernetes 1.8: hostPath types).
func hostPath(h *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if h.Type != nil {
		kind = *h.Type
	}
	switch kind {
	case corev1.HostPathDirectoryOrCreate:
		return os.MkdirAll(h.Path, 0o755)
	case corev1.HostPathFileOrCreate:
		f, err := os.OpenFile(h.Path, os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		return f.Close()
	case corev1.HostPathUnset:
		if _, err := os.Stat(h.Path); errors.Is(err, fs.ErrNotExist) {
			return os.MkdirAll(h.Path, 0o755) // as engines do
		}
		return nil
	}
	return hostPathIs(h.Path, kind)
}

func hostPathIs(path string, kind corev1.HostPathType) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("hostPath type check failed: %w", err)
	}
	mode := info.Mode()
	fits := map[corev1.HostPathType]bool{
		corev1.HostPathDirectory: mode.IsDir(),
		corev1.HostPathFile:      mode.IsRegular(),
		corev1.HostPathSocket:    mode&fs.ModeSocket != 0,
		corev1.HostPathCharDev:   mode&fs.ModeCharDevice != 0,
		corev1.HostPathBlockDev:  mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0,
	}
	if !fits[kind] {
		return fmt.Errorf("hostPath type check failed: %s is not a %s", path, kind)
	}
	return nil
}

func fsGroup(pod *corev1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}

// own gives a tree to the pod's fsGroup: group-owned, group-writable, and new files inherit the group.
func own(dir string, group *int64) error {
	if group == nil {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			return os.Lchown(path, -1, int(*group))
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if err := os.Lchown(path, -1, int(*group)); err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o660
		if d.IsDir() {
			mode |= 0o110 | fs.ModeSetgid
		}
		return os.Chmod(path, mode)
	})
}
