package volumes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Names by which node-local volumes are known.
const (
	LocalClass     = "local"
	provisionedBy  = "pv.kubernetes.io/provisioned-by"
	provisioner    = "orpheus.dev/local"
	bindCompleted  = "pv.kubernetes.io/bind-completed"
	boundByUs      = "pv.kubernetes.io/bound-by-controller"
	nodeAnnotation = "orpheus.dev/node"
)

// claim is the path of a claim's data. A claim of the local class that is not bound yet is bound here, to a directory of
// this host: the pod was placed first, its data follow it and keep it here from then on.
func (m *Manager) claim(ctx context.Context, pod *corev1.Pod, name string) (string, error) {
	pvc, err := m.cfg.Client.CoreV1().PersistentVolumeClaims(pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("persistentvolumeclaim %q: %w", name, err)
	}
	if pvc.DeletionTimestamp != nil {
		return "", fmt.Errorf("persistentvolumeclaim %q is being deleted", name)
	}
	if pvc.Spec.VolumeName == "" {
		if pvc, err = m.provision(ctx, pvc); err != nil {
			return "", fmt.Errorf("persistentvolumeclaim %q: %w", name, err)
		}
	}
	pv, err := m.cfg.Client.CoreV1().PersistentVolumes().Get(ctx, pvc.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("persistentvolumeclaim %q: %w", name, err)
	}
	path, err := m.path(pv)
	if err != nil {
		return "", fmt.Errorf("persistentvolumeclaim %q: persistentvolume %q: %w", name, pv.Name, err)
	}
	return path, own(path, fsGroup(pod))
}

// path is where a volume lies on this host.
func (m *Manager) path(pv *corev1.PersistentVolume) (string, error) {
	if node := pv.Annotations[nodeAnnotation]; node != "" && node != m.cfg.Node {
		return "", fmt.Errorf("its data lie on node %s, the pod was placed on %s", node, m.cfg.Node)
	}
	switch {
	case pv.Spec.Local != nil:
		if pv.Annotations[provisionedBy] == provisioner {
			return pv.Spec.Local.Path, makeData(pv.Spec.Local.Path)
		}
		_, err := os.Stat(pv.Spec.Local.Path)
		return pv.Spec.Local.Path, err
	case pv.Spec.HostPath != nil:
		return pv.Spec.HostPath.Path, hostPath(pv.Spec.HostPath)
	}
	return "", errors.New("only volumes of type local and hostPath are supported")
}

func makeData(path string) error {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	return os.Chmod(path, 0o777)
}

func (m *Manager) provision(ctx context.Context, pvc *corev1.PersistentVolumeClaim) (*corev1.PersistentVolumeClaim, error) {
	if class := pvc.Spec.StorageClassName; class != nil && *class != "" && *class != LocalClass {
		return nil, fmt.Errorf("it waits for a volume of storage class %q, which no part of this mesh provides: use %q", *class, LocalClass)
	}
	pv := m.volumeFor(pvc)
	if err := makeData(pv.Spec.Local.Path); err != nil {
		return nil, err
	}
	if _, err := m.cfg.Client.CoreV1().PersistentVolumes().Create(ctx, pv, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("create persistentvolume: %w", err)
	}
	if err := m.bindVolume(ctx, pv.Name); err != nil {
		return nil, err
	}
	return m.bindClaim(ctx, pvc, pv)
}

func (m *Manager) volumeFor(pvc *corev1.PersistentVolumeClaim) *corev1.PersistentVolume {
	mode := corev1.PersistentVolumeFilesystem
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        "pvc-" + string(pvc.UID),
			Annotations: map[string]string{provisionedBy: provisioner, nodeAnnotation: m.cfg.Node, boundByUs: "yes"},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: pvc.Spec.Resources.Requests[corev1.ResourceStorage]},
			AccessModes:                   pvc.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			StorageClassName:              className(pvc),
			VolumeMode:                    &mode,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: filepath.Join(m.cfg.Dir, "claims", string(pvc.UID))}},
			ClaimRef: &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: pvc.Namespace, Name: pvc.Name,
				UID: pvc.UID},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{m.cfg.Node}}},
			}}}},
		},
	}
}

func className(pvc *corev1.PersistentVolumeClaim) string {
	if pvc.Spec.StorageClassName != nil {
		return *pvc.Spec.StorageClassName
	}
	return ""
}

func (m *Manager) bindVolume(ctx context.Context, name string) error {
	pv, err := m.cfg.Client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("bind persistentvolume: %w", err)
	}
	if pv.Status.Phase == corev1.VolumeBound {
		return nil
	}
	pv.Status.Phase = corev1.VolumeBound
	if _, err := m.cfg.Client.CoreV1().PersistentVolumes().UpdateStatus(ctx, pv, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("bind persistentvolume: %w", err)
	}
	return nil
}

func (m *Manager) bindClaim(ctx context.Context, pvc *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) (*corev1.PersistentVolumeClaim, error) {
	claims := m.cfg.Client.CoreV1().PersistentVolumeClaims(pvc.Namespace)
	bound := pvc.DeepCopy()
	bound.Spec.VolumeName = pv.Name
	if bound.Annotations == nil {
		bound.Annotations = map[string]string{}
	}
	bound.Annotations[bindCompleted] = "yes"
	bound.Annotations[boundByUs] = "yes"
	bound, err := claims.Update(ctx, bound, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	bound.Status.Phase = corev1.ClaimBound
	bound.Status.AccessModes = pv.Spec.AccessModes
	bound.Status.Capacity = pv.Spec.Capacity
	if bound, err = claims.UpdateStatus(ctx, bound, metav1.UpdateOptions{}); err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	return bound, nil
}

// Reclaim deletes the node-local volumes of this host whose claims are gone and whose reclaim policy is Delete, with their
// data. Others that lost their claim are marked Released and kept.
func (m *Manager) Reclaim(ctx context.Context) error {
	pvs, err := m.cfg.Client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("reclaim volumes: %w", err)
	}
	var errs []error
	for i := range pvs.Items {
		pv := &pvs.Items[i]
		if pv.Annotations[nodeAnnotation] != m.cfg.Node || pv.Annotations[provisionedBy] != provisioner || pv.Spec.ClaimRef == nil || pv.Spec.Local == nil {
			continue
		}
		gone, err := m.claimGone(ctx, pv.Spec.ClaimRef)
		if err == nil && gone {
			err = m.release(ctx, pv)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("reclaim persistentvolume %s: %w", pv.Name, err))
		}
	}
	return errors.Join(errs...)
}

// claimGone asks for proof: a replica that is being rebuilt may know a volume before its claim, and data are not deleted
// on absence.
func (m *Manager) claimGone(ctx context.Context, ref *corev1.ObjectReference) (bool, error) {
	if m.cfg.Dead == nil || !m.cfg.Dead(ref.UID) {
		return false, nil
	}
	pvc, err := m.cfg.Client.CoreV1().PersistentVolumeClaims(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return pvc.UID != ref.UID && ref.UID != types.UID(""), nil
}

func (m *Manager) release(ctx context.Context, pv *corev1.PersistentVolume) error {
	if pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
		if pv.Status.Phase == corev1.VolumeReleased {
			return nil
		}
		pv.Status.Phase = corev1.VolumeReleased
		_, err := m.cfg.Client.CoreV1().PersistentVolumes().UpdateStatus(ctx, pv, metav1.UpdateOptions{})
		return err
	}
	if !within(filepath.Join(m.cfg.Dir, "claims"), pv.Spec.Local.Path) {
		return fmt.Errorf("its path %s is not of this server's making: remove it by hand", pv.Spec.Local.Path)
	}
	if err := os.RemoveAll(pv.Spec.Local.Path); err != nil {
		return err
	}
	return m.cfg.Client.CoreV1().PersistentVolumes().Delete(ctx, pv.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pv.UID}})
}
