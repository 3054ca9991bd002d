package node

import (
	"context"
	"fmt"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// needed is what some of the controllers may do as soon as upstream's policy is in force. A controller that starts before
// gives up for good on what it was refused.
var needed = []authorizationv1.SubjectAccessReviewSpec{
	may("namespace-controller", authorizationv1.ResourceAttributes{Verb: "watch", Resource: "namespaces"}),
	may("deployment-controller", authorizationv1.ResourceAttributes{Verb: "watch", Group: "apps", Resource: "deployments"}),
	may("replicaset-controller", authorizationv1.ResourceAttributes{Verb: "create", Resource: "pods"}),
	may("statefulset-controller", authorizationv1.ResourceAttributes{Verb: "create", Resource: "pods"}),
	may("daemon-set-controller", authorizationv1.ResourceAttributes{Verb: "create", Resource: "pods"}),
	may("job-controller", authorizationv1.ResourceAttributes{Verb: "create", Resource: "pods"}),
	may("cronjob-controller", authorizationv1.ResourceAttributes{Verb: "create", Group: "batch", Resource: "jobs"}),
	may("endpointslice-controller", authorizationv1.ResourceAttributes{Verb: "create", Group: "discovery.k8s.io", Resource: "endpointslices"}),
	may("endpointslicemirroring-controller", authorizationv1.ResourceAttributes{Verb: "create", Group: "discovery.k8s.io", Resource: "endpointslices"}),
	may("generic-garbage-collector", authorizationv1.ResourceAttributes{Verb: "delete", Resource: "pods"}),
	may("service-account-controller", authorizationv1.ResourceAttributes{Verb: "create", Resource: "serviceaccounts"}),
	may("root-ca-cert-publisher", authorizationv1.ResourceAttributes{Verb: "create", Resource: "configmaps"}),
	may("disruption-controller", authorizationv1.ResourceAttributes{Verb: "update", Group: "policy", Resource: "poddisruptionbudgets", Subresource: "status"}),
}

func may(controller string, what authorizationv1.ResourceAttributes) authorizationv1.SubjectAccessReviewSpec {
	return authorizationv1.SubjectAccessReviewSpec{
		User:               "system:serviceaccount:kube-system:" + controller,
		Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"},
		ResourceAttributes: &what,
	}
}

// awaitRoles waits until the policy that the controllers live by is in force here.
func awaitRoles(ctx context.Context, client kubernetes.Interface) error {
	discovery := needed[0]
	discovery.ResourceAttributes, discovery.NonResourceAttributes = nil, &authorizationv1.NonResourceAttributes{Path: "/api", Verb: "get"}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, spec := range append([]authorizationv1.SubjectAccessReviewSpec{discovery}, needed...) {
		for {
			r, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
			if err != nil && ctx.Err() == nil {
				return fmt.Errorf("wait for the policy of controllers: %w", err)
			}
			if err == nil && r.Status.Allowed {
				break
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
		}
	}
	return nil
}
