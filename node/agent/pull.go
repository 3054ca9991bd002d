package agent

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/distribution/reference"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
	"k8s.io/kubernetes/pkg/credentialprovider"
	"k8s.io/kubernetes/pkg/credentialprovider/secrets"
	"k8s.io/kubernetes/pkg/kubelet/events"
)

const pullTimeout = 20 * time.Minute

// pull makes a container's image present, beside the worker.
func (w *worker) pull(ctx context.Context, pod *v1.Pod, c *v1.Container) {
	name, before := c.Name, w.pulls[c.Name].Failed
	w.pulls[name] = pull{Flying: true, Failed: before}
	w.beside.Go(func() {
		known := w.a.cfg.Images.Known(ctx, c.Image) // before it fails: what comes meanwhile is news
		id, reason, err := w.ensure(ctx, pod, c)
		w.tell(ctx, func() {
			if err == nil {
				w.pulls[name] = pull{ImageID: id}
				return
			}
			w.pulls[name] = pull{Failed: nextFailure(before, reason, err, time.Now()), Known: known}
		})
	})
}

// appeared ends the back-off of images that were loaded, pulled or shared since they could not be had. A registry tells
// nobody what it was given: there the back-off has to run out.
func (w *worker) appeared(ctx context.Context, pod *v1.Pod) {
	for c := range podutil.ContainerIter(&pod.Spec, podutil.AllContainers) {
		p, waits := w.pulls[c.Name]
		if !waits || p.Failed == nil || p.Flying {
			continue
		}
		if now := w.a.cfg.Images.Known(ctx, c.Image); now != "" && now != p.Known {
			t := *p.Failed
			t.Retry = time.Time{}
			w.pulls[c.Name] = pull{Failed: &t, Known: p.Known}
		}
	}
}

// nextFailure backs off as crashes do: 10 s, doubling to 5 min.
func nextFailure(before *trouble, reason string, err error, now time.Time) *trouble {
	t := &trouble{Reason: reason, Message: err.Error(), Since: now, Count: 1}
	if before != nil && before.Reason == reason {
		t.Count = before.Count + 1
	}
	t.Retry = now.Add(stepped(t.Count))
	return t
}

func (w *worker) ensure(ctx context.Context, pod *v1.Pod, c *v1.Container) (id, reason string, err error) {
	if _, err := reference.ParseNormalizedNamed(c.Image); err != nil {
		err = fmt.Errorf("Failed to apply default image tag %q: couldn't parse image name: %w", c.Image, err)
		w.warn(pod, c.Name, "InspectFailed", err.Error())
		return "", reasonInvalidImage, err
	}
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	_, absent := w.a.cfg.Docker.Image(ctx, c.Image)
	if absent != nil && c.ImagePullPolicy == v1.PullNever {
		// Another part of the mesh may still know a local image under this name.
		if id, err := w.a.cfg.Images.Ensure(ctx, c.Image, v1.PullNever, ""); err == nil {
			return id, "", nil
		}
		err := fmt.Errorf("Container image %q is not present with pull policy of Never", c.Image)
		w.warn(pod, c.Name, events.ErrImageNeverPullPolicy, err.Error())
		return "", reasonNeverPull, err
	}
	fetch := absent != nil || c.ImagePullPolicy == v1.PullAlways
	if fetch {
		w.tellNormal(pod, c.Name, events.PullingImage, fmt.Sprintf("Pulling image %q", c.Image))
	}
	begun := time.Now()
	if id, err = w.tryKeys(ctx, pod, c); err != nil {
		w.warn(pod, c.Name, events.FailedToPullImage, fmt.Sprintf("Failed to pull image %q: %s", c.Image, err))
		w.warn(pod, c.Name, events.FailedToPullImage, "Error: "+reasonErrImagePull)
		return "", reasonErrImagePull, err
	}
	said := fmt.Sprintf("Container image %q already present on machine", c.Image)
	if fetch {
		said = fmt.Sprintf("Successfully pulled image %q in %s", c.Image, time.Since(begun).Round(time.Millisecond))
	}
	w.tellNormal(pod, c.Name, events.PulledImage, said)
	return id, "", nil
}

// tryKeys asks with each credential that the pod has for the image's registry, or without any.
func (w *worker) tryKeys(ctx context.Context, pod *v1.Pod, c *v1.Container) (id string, err error) {
	for _, auth := range w.registryKeys(ctx, pod, c.Image) {
		if id, err = w.a.cfg.Images.Ensure(ctx, c.Image, c.ImagePullPolicy, auth); err == nil {
			return id, nil
		}
	}
	return "", err
}

// registryKeys are the X-Registry-Auth values to try, at least one.
func (w *worker) registryKeys(ctx context.Context, pod *v1.Pod, image string) []string {
	var held []v1.Secret
	var missing []string
	for _, ref := range pod.Spec.ImagePullSecrets {
		s, err := w.a.cfg.API.CoreV1().Secrets(pod.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err != nil {
			w.a.cfg.Log.Debug("image pull secret not read", "pod", podName(pod), "secret", ref.Name, "error", err)
			missing = append(missing, ref.Name)
			continue
		}
		held = append(held, *s)
	}
	if len(missing) > 0 {
		w.warn(pod, "", "FailedToRetrieveImagePullSecret", fmt.Sprintf("Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(missing, ", ")))
	}
	if len(held) == 0 {
		return []string{""}
	}
	ring, err := secrets.MakeDockerKeyring(held, credentialprovider.UnionDockerKeyring{})
	if err != nil {
		w.a.cfg.Log.Warn("image pull secrets not understood", "pod", podName(pod), "error", err)
		return []string{""}
	}
	keys, _ := ring.Lookup(image)
	var out []string
	for _, k := range keys {
		text, err := json.Marshal(map[string]string{"username": k.Username, "password": k.Password, "auth": k.Auth,
			"email": k.Email, "serveraddress": k.ServerAddress, "identitytoken": k.IdentityToken, "registrytoken": k.RegistryToken})
		if err == nil {
			out = append(out, base64.URLEncoding.EncodeToString(text))
		}
	}
	if len(out) == 0 {
		return []string{""}
	}
	return out
}
