package replica

import (
	"context"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// isHuman tells whether a person, or a tool in a person's name, asks for a write. The machines are this server itself, the
// nodes, and the controllers of the system.
func isHuman(ctx context.Context) bool {
	u, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return false
	}
	name := u.GetName()
	if name == user.APIServerUser {
		return false
	}
	for _, machine := range []string{"system:node:", "system:serviceaccount:kube-system:", "system:kube-"} {
		if strings.HasPrefix(name, machine) {
			return false
		}
	}
	return true
}
