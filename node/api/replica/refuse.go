package replica

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// refuse tells a client, in the API's terms, why the store took no write.
func (k *Kind) refuse(key store.Key, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrTooLarge):
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("%s %s is larger than 1 MiB: split it, or keep large files in an image or a volume", k.name, after(key)))
	case errors.Is(err, store.ErrReadOnly):
		return apierrors.NewServiceUnavailable(err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return apierrors.NewTimeoutError(fmt.Sprintf("write %s %s: %v", k.name, after(key), err), 1)
	}
	return err
}

// resource is the kind as the API's errors name it.
func (k *Kind) resource() schema.GroupResource {
	group, resource, _ := strings.Cut(k.name, "/")
	if group == "core" {
		group = ""
	}
	return schema.GroupResource{Group: group, Resource: resource}
}
