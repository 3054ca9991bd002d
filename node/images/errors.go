package images

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/jsonstream"
)

// The reasons why an image cannot be had; callers show and back off by them.
var (
	ErrImageNotFound    = errors.New("image not found")
	ErrImageDenied      = errors.New("access to the image was denied")
	ErrImageRateLimited = errors.New("the registry limits the rate of pulls")
	ErrImagePull        = errors.New("the image could not be pulled")
	ErrImageNever       = errors.New("image not present and imagePullPolicy is Never")
	ErrInvalidName      = errors.New("invalid image name")
	ErrWrongImage       = errors.New("a peer sent another image than promised")
)

// classify gives an engine's pull error its kind. Engines put the registry's answer into free text, so that the text has
// to be read where the error has neither type nor code.
func classify(ref string, err error) error {
	text := strings.ToLower(err.Error())
	kind := ErrImagePull
	var told *jsonstream.Error
	if !errors.As(err, &told) {
		told = &jsonstream.Error{}
	}
	switch {
	case told.Code == http.StatusTooManyRequests, strings.Contains(text, "toomanyrequests"), strings.Contains(text, "429"):
		kind = ErrImageRateLimited
	case told.Code == http.StatusUnauthorized, told.Code == http.StatusForbidden, errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err),
		strings.Contains(text, "unauthorized"), strings.Contains(text, "denied"), strings.Contains(text, "no basic auth"):
		kind = ErrImageDenied
	case told.Code == http.StatusNotFound, errdefs.IsNotFound(err), strings.Contains(text, "manifest unknown"), strings.Contains(text, "not found"):
		kind = ErrImageNotFound
	}
	return fmt.Errorf("pull %s: %w: %w", ref, kind, err)
}
