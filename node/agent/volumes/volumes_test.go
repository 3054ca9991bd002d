package volumes

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func pod(volumes ...corev1.Volume) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "uid-1", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{ServiceAccountName: "default", Volumes: volumes, Containers: []corev1.Container{{Name: "c"}}}}
}

// manager works on the real kernel: tests need to be root to mount memory.
func manager(t *testing.T, objects ...runtime.Object) (*Manager, *fake.Clientset) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting memory needs root")
	}
	client := fake.NewClientset(objects...)
	client.PrependReactor("create", "serviceaccounts", func(a clienttesting.Action) (bool, runtime.Object, error) {
		return a.GetSubresource() == "token", &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{
			Token: "signed", ExpirationTimestamp: metav1.Now()}}, nil
	})
	m := New(Config{Dir: t.TempDir(), Node: "m1", Client: client, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() {
		if err := m.Teardown("uid-1"); err != nil {
			t.Error(err)
		}
	})
	return m, client
}

func read(t *testing.T, elem ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func configMapVolume(name string) corev1.Volume {
	return corev1.Volume{Name: "cm", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}}
}

func TestMountedConfigMapFollowsItsSource(t *testing.T) {
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "conf"}, Data: map[string]string{"k": "v1"}}
	m, client := manager(t, cm)
	p := pod(configMapVolume("conf"))
	mounted, err := m.Setup(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, mounted["cm"], "k"); got != "v1" {
		t.Errorf("k is %q, want v1", got)
	}
	cm = cm.DeepCopy()
	cm.Data["k"] = "v2"
	if err := client.Tracker().Update(corev1.SchemeGroupVersion.WithResource("configmaps"), cm, "ns"); err != nil {
		t.Fatal(err)
	}
	if err := m.Refresh(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got := read(t, mounted["cm"], "k"); got != "v2" {
		t.Errorf("after the update k is %q, want v2", got)
	}
}

// Containers only read a configMap, so whatever is mounted within it needs its mount point before.
func TestVolumesMountedInConfigMapsFindTheirPlace(t *testing.T) {
	m, _ := manager(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "conf"}, Data: map[string]string{"k": "v1"}})
	p := pod(configMapVolume("conf"), corev1.Volume{Name: "inner", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "cm", MountPath: "/www"}, {Name: "inner", MountPath: "/www/cgi-bin/now"}}
	mounted, err := m.Setup(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if info, err := os.Stat(filepath.Join(mounted["cm"], "cgi-bin", "now")); err != nil || !info.IsDir() {
			t.Errorf("no mount point: %v", err)
		}
		if err := m.Refresh(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSecretsAndTokensAreInMemoryOnly(t *testing.T) {
	m, _ := manager(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s"}, Data: map[string][]byte{"password": []byte("hunter2")}})
	p := pod(
		corev1.Volume{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}},
		corev1.Volume{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}},
		}}}})
	mounted, err := m.Setup(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, mounted["secret"], "password"); got != "hunter2" {
		t.Errorf("secret is %q", got)
	}
	if got := read(t, mounted["token"], "token") + read(t, mounted["token"], "labels"); got != `signedapp="web"` {
		t.Errorf("projected files hold %q", got)
	}
	for _, name := range []string{"secret", "token"} {
		if on, err := m.mounter.IsMountPoint(mounted[name]); err != nil || !on {
			t.Errorf("volume %s is not in memory: %v", name, err)
		}
	}
	if err := m.Teardown(p.UID); err != nil {
		t.Fatal(err)
	}
	if uids, err := m.Pods(); err != nil || len(uids) != 0 {
		t.Errorf("after teardown there are %v, %v", uids, err)
	}
}

func TestMissingSourcesAreNamed(t *testing.T) {
	m, _ := manager(t)
	_, err := m.Setup(t.Context(), pod(configMapVolume("nope")))
	if err == nil || !strings.Contains(err.Error(), `volume "cm": configmap "nope"`) {
		t.Errorf("got %v", err)
	}
}

func TestSubPathsStayInTheVolume(t *testing.T) {
	m, _ := manager(t)
	p := pod(corev1.Volume{Name: "e", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	mounted, err := m.Setup(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	mount := corev1.VolumeMount{Name: "e", MountPath: "/x"}
	src, err := m.Bind(p, mounted, "c", 0, mount, "a/b")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(src, "f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := read(t, mounted["e"], "a/b/f"); got != "x" {
		t.Errorf("the sub-path is another place")
	}
	for _, bad := range []string{"../up", "/abs", "a/../../up"} {
		if _, err := m.Bind(p, mounted, "c", 1, mount, bad); err == nil {
			t.Errorf("sub-path %q was allowed", bad)
		}
	}
	if err := os.Symlink("/etc", filepath.Join(mounted["e"], "link")); err != nil {
		t.Fatal(err)
	}
	if src, err := m.Bind(p, mounted, "c", 2, mount, "link/passwd"); err == nil {
		t.Errorf("a link led out of the volume, to %s", src)
	}
}

func TestClaimIsBoundWhereThePodIsAndReclaimedOnProof(t *testing.T) {
	class := LocalClass
	pvc := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "data", UID: "claim-1"},
		Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}}}}
	m, client := manager(t, pvc)
	p := pod(corev1.Volume{Name: "d", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}})
	mounted, err := m.Setup(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	bound, err := client.CoreV1().PersistentVolumeClaims("ns").Get(t.Context(), "data", metav1.GetOptions{})
	if err != nil || bound.Status.Phase != corev1.ClaimBound || bound.Spec.VolumeName != "pvc-claim-1" {
		t.Fatalf("claim is %s on %q, %v", bound.Status.Phase, bound.Spec.VolumeName, err)
	}
	if err := os.WriteFile(filepath.Join(mounted["d"], "row"), []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.Teardown(p.UID); err != nil {
		t.Fatal(err)
	}
	elsewhere := New(Config{Dir: t.TempDir(), Node: "m2", Client: client})
	if _, err := elsewhere.Setup(t.Context(), p); err == nil || !strings.Contains(err.Error(), "on node m1") {
		t.Errorf("another node used the data: %v", err)
	}
	if err := client.CoreV1().PersistentVolumeClaims("ns").Delete(t.Context(), "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := m.Reclaim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := read(t, mounted["d"], "row"); got != "1" {
		t.Error("data went on absence alone")
	}
	m.cfg.Dead = func(uid types.UID) bool { return uid == "claim-1" }
	if err := m.Reclaim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mounted["d"]); !os.IsNotExist(err) {
		t.Errorf("data of a deleted claim are still there: %v", err)
	}
}
