package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/volume/util/subpath"
)

// Bind is the host's path that a volume mount of a container starts from. A sub-path is made where it is missing and
// resolved so that links inside the volume can't lead out of it; subPath is the mount's SubPath, or its SubPathExpr with
// the variables filled in.
func (m *Manager) Bind(pod *corev1.Pod, mounted Mounted, container string, index int, vm corev1.VolumeMount, subPath string) (string, error) {
	root, ok := mounted[vm.Name]
	if !ok {
		return "", fmt.Errorf("mount %s of container %s: the pod has no volume %q", vm.MountPath, container, vm.Name)
	}
	if subPath == "" {
		return root, nil
	}
	if filepath.IsAbs(subPath) || !filepath.IsLocal(subPath) && subPath != "." || strings.Contains(subPath, "..") {
		return "", fmt.Errorf("mount %s of container %s: subPath %q must stay within the volume", vm.MountPath, container, subPath)
	}
	path := filepath.Join(root, subPath)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		info, err := os.Stat(root)
		if err != nil {
			return "", fmt.Errorf("mount %s of container %s: %w", vm.MountPath, container, err)
		}
		if err := m.subpaths.SafeMakeDir(subPath, root, info.Mode().Perm()); err != nil {
			return "", fmt.Errorf("mount %s of container %s: make subPath %q: %w", vm.MountPath, container, subPath, err)
		}
	}
	bound, _, err := m.subpaths.PrepareSafeSubpath(subpath.Subpath{VolumeMountIndex: index, Path: path, VolumeName: vm.Name,
		VolumePath: root, PodDir: m.PodDir(pod.UID), ContainerName: container})
	if err != nil {
		return "", fmt.Errorf("mount %s of container %s: subPath %q: %w", vm.MountPath, container, subPath, err)
	}
	return bound, nil
}
