package api

import (
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

func TestClasses(t *testing.T) {
	for k, want := range map[store.Key]store.Class{
		{Kind: sliceKind, Namespace: "default", Name: "web-x7k2p.derived"}: store.Local,
		{Kind: sliceKind, Namespace: "default", Name: "kubernetes"}:        store.Local,
		{Kind: sliceKind, Namespace: "shop", Name: "kubernetes"}:           store.Durable,
		{Kind: sliceKind, Namespace: "default", Name: "database"}:          store.Durable,
		{Kind: "core/endpoints", Namespace: "default", Name: "database"}:   store.Durable,
		{Kind: "core/pods", Namespace: "default", Name: "web-1.derived"}:   store.Durable,
		{Kind: "core/events", Namespace: "default", Name: "e"}:             store.Ephemeral,
	} {
		if got := Class(k); got != want {
			t.Errorf("%v is %v, want %v", k, got, want)
		}
	}
}

// What a person says about endpoints is an object of the mesh; what each server derives is its own, and the names tell them apart.
func TestSlicesOfPeopleAndOfControllers(t *testing.T) {
	w := start(t, onDisk(t))
	slice := func(name, generate string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: name, GenerateName: generate}, AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}}}}
	}
	long := strings.Repeat("a", 60) + "-"
	derived := w.as(t, "system:serviceaccount:kube-system:endpointslice-controller", "system:masters").DiscoveryV1().EndpointSlices("default")
	for _, generate := range []string{"web-", long} {
		s := must(derived.Create(t.Context(), slice("", generate), metav1.CreateOptions{}))(t)
		if !strings.HasSuffix(s.Name, derivedSuffix) || !strings.HasPrefix(s.Name, generate[:4]) || len(s.Name) > 63 {
			t.Errorf("a controller's slice is called %q", s.Name)
		}
	}
	people := w.admin(t).DiscoveryV1().EndpointSlices("default")
	for _, s := range []*discoveryv1.EndpointSlice{slice("database", ""), slice("", "web-")} {
		made := must(people.Create(t.Context(), s, metav1.CreateOptions{}))(t)
		if k := (store.Key{Kind: sliceKind, Namespace: "default", Name: made.Name}); Class(k) != store.Durable {
			t.Errorf("a person's slice %q would stay on one server", made.Name)
		}
	}
	if _, err := people.Create(t.Context(), slice("mine.derived", ""), metav1.CreateOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "metadata.name") {
		t.Errorf("a name of a derived slice: %v", err)
	}
}
