package node

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
)

// A pod may go where all of its volumes can be mounted.
func TestVolumesNameTheirNodes(t *testing.T) {
	node := func(name, zone string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelTopologyZone: zone}}}
	}
	claim := func(name, volume string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: volume}}
	}
	bound := func(name, key string, values ...string) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: corev1.NodeSelectorOpIn, Values: values}}}}}}}}
	}
	objects := []runtime.Object{
		node("a", "z1"), node("b", "z1"), node("c", "z2"),
		&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "local", Annotations: map[string]string{nodeOfVolume: "b"}}},
		&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "nfs"}},
		bound("zonal", corev1.LabelTopologyZone, "z1"), bound("disk", corev1.LabelHostname, "a"), bound("nowhere", corev1.LabelTopologyZone, "z9"),
	}
	for _, v := range []string{"local", "nfs", "zonal", "disk", "nowhere", "unknown"} {
		objects = append(objects, claim(v, v))
	}
	c := newClaims(fake.NewClientset(append(objects, claim("unbound", ""))...))
	if err := c.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.factory.Shutdown)
	for _, x := range []struct {
		claims []string
		want   []string
	}{
		{nil, nil},
		{[]string{"nfs"}, nil},
		{[]string{"unbound"}, nil},
		{[]string{"not there"}, nil},
		{[]string{"local"}, []string{"b"}},
		{[]string{"zonal"}, []string{"a", "b"}},
		{[]string{"disk", "zonal", "nfs"}, []string{"a"}},
		{[]string{"disk", "local"}, []string{}},
		{[]string{"nowhere"}, []string{}},
		{[]string{"unknown"}, []string{}},
	} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}}
		for _, name := range x.claims {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}})
		}
		if got := c.hosts(p); !slices.Equal(got, x.want) || (got == nil) != (x.want == nil) {
			t.Errorf("%v: %#v, want %#v", x.claims, got, x.want)
		}
	}
}

// Who lacks a claim gets no host, and is told which one.
func TestPodsWaitForTheirClaims(t *testing.T) {
	now := metav1.Now()
	c := newClaims(fake.NewClientset(
		&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "there"}},
		&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "going", DeletionTimestamp: &now, Finalizers: []string{"kubernetes.io/pvc-protection"}}},
	))
	if err := c.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.factory.Shutdown)
	by := func(name string) corev1.VolumeSource {
		return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}
	}
	for _, x := range []struct {
		volumes []corev1.VolumeSource
		want    string
	}{
		{nil, ""},
		{[]corev1.VolumeSource{{EmptyDir: &corev1.EmptyDirVolumeSource{}}, by("there")}, ""},
		{[]corev1.VolumeSource{by("there"), by("nowhere")}, `persistentvolumeclaim "nowhere" not found`},
		{[]corev1.VolumeSource{by("going")}, `persistentvolumeclaim "going" is being deleted`},
		{[]corev1.VolumeSource{{Ephemeral: &corev1.EphemeralVolumeSource{}}}, `waiting for ephemeral volume controller to create the persistentvolumeclaim "p-v0"`},
	} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}}
		for i, v := range x.volumes {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: fmt.Sprintf("v%d", i), VolumeSource: v})
		}
		if got := c.lacks(p); got != x.want {
			t.Errorf("%v: %q, want %q", x.volumes, got, x.want)
		}
	}
}
