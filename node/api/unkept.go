package api

import (
	"context"
	"io"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	core "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/networking"
)

const unkeptName = "OrpheusUnkeptPromises"

// unkept tells whoever asks for what is kept but not carried out here: silence would let them believe that a policy protects them.
// It refuses nothing, so that charts which bring such objects along install as they do elsewhere.
type unkept struct{ *admission.Handler }

var _ admission.ValidationInterface = unkept{}

func registerUnkept(plugins *admission.Plugins) {
	plugins.Register(unkeptName, func(io.Reader) (admission.Interface, error) {
		return unkept{admission.NewHandler(admission.Create, admission.Update)}, nil
	})
}

// Validate implements admission.ValidationInterface.
func (unkept) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if text := promise(a.GetObject()); text != "" && a.GetSubresource() == "" {
		warning.AddWarning(ctx, "", text) // where nobody listens it is lost
	}
	return nil
}

// promise says what an object asks for that nobody here does yet, "" where there is nothing.
func promise(o runtime.Object) string {
	switch o := o.(type) {
	case *networking.NetworkPolicy:
		return "network policies are kept but not enforced yet: traffic that this one forbids still flows"
	case *autoscaling.HorizontalPodAutoscaler:
		return "horizontal pod autoscalers are kept but nothing scales yet: set spec.replicas of its target yourself"
	case *core.Service:
		if o.Spec.Type == core.ServiceTypeLoadBalancer && o.Spec.LoadBalancerClass == nil {
			return "spec.type: no load balancer is made, and status.loadBalancer stays empty: the service answers at its cluster address and, on every server, at its node ports"
		}
	}
	return ""
}
