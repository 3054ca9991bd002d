package api

import (
	"context"
	"fmt"
	"io"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/kubernetes/pkg/apis/discovery"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

const (
	derivedName = "OrpheusDerivedNames"

	// derivedSuffix ends the names of endpoint slices that each node computes from its own view: what one server takes for gone
	// another may still reach. What people write has other names, and is an object like all others.
	derivedSuffix = ".derived"
	sliceKind     = "discovery.k8s.io/endpointslices"
)

// Class tells how an object lives. Leases are Durable, because users' leader elections need them; node leases are not
// written at all: liveness is the mesh's.
func Class(k store.Key) store.Class {
	switch {
	case k.Kind == "core/events", k.Kind == "events.k8s.io/events":
		return store.Ephemeral
	case k.Kind == sliceKind && (strings.HasSuffix(k.Name, derivedSuffix) || k.Namespace == metav1.NamespaceDefault && k.Name == apiService):
		return store.Local
	}
	return store.Durable
}

// derivedNames gives the slices of the controllers that derive them names of their own, and keeps these names from all others.
type derivedNames struct{ *admission.Handler }

var (
	_ admission.MutationInterface   = derivedNames{}
	_ admission.ValidationInterface = derivedNames{}
)

func registerDerivedNames(plugins *admission.Plugins) {
	plugins.Register(derivedName, func(io.Reader) (admission.Interface, error) {
		return derivedNames{admission.NewHandler(admission.Create)}, nil
	})
}

// derives tells whether the writer is a controller that derives slices, which runs on every node.
func derives(a admission.Attributes) bool {
	switch a.GetUserInfo().GetName() {
	case "system:serviceaccount:kube-system:endpointslice-controller", "system:serviceaccount:kube-system:endpointslicemirroring-controller":
		return true
	}
	return false
}

// Admit implements admission.MutationInterface. Controllers ask for a generated name; it is given here, before upstream's registry would.
func (derivedNames) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	slice, ok := a.GetObject().(*discovery.EndpointSlice)
	if ok && derives(a) && slice.Name == "" {
		const most = 63 - 5 - len(derivedSuffix)
		base := slice.GenerateName
		slice.Name = base[:min(len(base), most)] + rand.String(5) + derivedSuffix
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (derivedNames) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	slice, ok := a.GetObject().(*discovery.EndpointSlice)
	if ok && !derives(a) && strings.HasSuffix(slice.Name, derivedSuffix) {
		return apierrors.NewForbidden(a.GetResource().GroupResource(), slice.Name,
			fmt.Errorf("metadata.name: names that end with %s are those of slices that each server computes for itself; choose another", derivedSuffix))
	}
	return nil
}
