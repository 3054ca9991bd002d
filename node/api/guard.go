package api

import (
	"context"
	"fmt"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"

	"github.com/orpheus-mesh/orpheus/node/api/replica"
)

const (
	guardName = "OrpheusCollectorGuard"

	// collector is who the garbage collector must be: on the loopback, by impersonation.
	collector = "system:serviceaccount:kube-system:generic-garbage-collector"
)

// guard lets the garbage collector take away a dependent, or its owner references, only where every owner concerned is
// known dead on this node, or is being deleted. An owner that merely is not here yet, because a merge brought the
// dependent first, is no reason: the collector gets a 409 and comes again.
type guard struct {
	*admission.Handler
	replica *replica.Replica
}

var _ admission.ValidationInterface = (*guard)(nil)

func (s *Server) registerGuard(plugins *admission.Plugins) {
	plugins.Register(guardName, func(io.Reader) (admission.Interface, error) {
		return &guard{Handler: admission.NewHandler(admission.Update, admission.Delete), replica: s.replica}, nil
	})
}

// Validate implements admission.ValidationInterface.
func (g *guard) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetUserInfo().GetName() != collector || a.GetOldObject() == nil {
		return nil
	}
	old, err := meta.Accessor(a.GetOldObject())
	if err != nil {
		return err
	}
	concerned := old.GetOwnerReferences()
	if a.GetOperation() == admission.Update {
		now, err := meta.Accessor(a.GetObject())
		if err != nil {
			return err
		}
		concerned = removed(concerned, now.GetOwnerReferences())
	} else if len(concerned) == 0 && old.GetDeletionTimestamp() == nil {
		return g.refuse(a, "it has no owner")
	}
	for _, ref := range concerned {
		if g.dead(a.GetNamespace(), ref) {
			continue
		}
		return g.refuse(a, fmt.Sprintf("its owner %s %s (UID %s) is not known to be dead on this node; it may still arrive", ref.Kind, ref.Name, ref.UID))
	}
	return nil
}

func removed(before, now []metav1.OwnerReference) []metav1.OwnerReference {
	kept := map[types.UID]bool{}
	for _, ref := range now {
		kept[ref.UID] = true
	}
	var out []metav1.OwnerReference
	for _, ref := range before {
		if !kept[ref.UID] {
			out = append(out, ref)
		}
	}
	return out
}

func (g *guard) dead(namespace string, ref metav1.OwnerReference) bool {
	if owner, found := g.replica.Owner(namespace, ref); found {
		return owner.Head.DeletionTime != 0
	}
	return g.replica.Store.Tombstoned(string(ref.UID))
}

func (g *guard) refuse(a admission.Attributes, why string) error {
	return apierrors.NewConflict(a.GetResource().GroupResource(), a.GetName(), fmt.Errorf("the garbage collector may not take it: %s", why))
}
