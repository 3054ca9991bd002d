package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"

	"github.com/orpheus-mesh/orpheus/node/docker"
)

// Labels that every container of a pod carries. They are all that a restarted daemon needs to take over what runs.
const (
	labelUID       = docker.Label
	labelNamespace = "orpheus.dev/pod-namespace"
	labelPod       = "orpheus.dev/pod-name"
	labelContainer = "orpheus.dev/container" // absent on a sandbox
	labelAttempt   = "orpheus.dev/attempt"   // how often it was started before
	labelLevel     = "orpheus.dev/backoff-level"
	labelSandbox   = "orpheus.dev/sandbox" // whose namespaces it lives in
	labelHash      = "orpheus.dev/spec-hash"
	labelAddress   = "orpheus.dev/pod-address" // on a sandbox
	labelGrace     = "orpheus.dev/grace"       // seconds; on a sandbox
)

// instance is one container of a pod: one attempt of one of its containers, or of its sandbox.
type instance struct {
	docker.Container
	Of      string // the container's name in the pod; "" for a sandbox
	Attempt int
	Level   int // of crash back-off at its creation
	Sandbox string
	Hash    string
}

func instanceOf(c docker.Container) instance {
	attempt, _ := strconv.Atoi(c.Labels[labelAttempt])
	level, _ := strconv.Atoi(c.Labels[labelLevel])
	return instance{Container: c, Of: c.Labels[labelContainer], Attempt: attempt, Level: level,
		Sandbox: c.Labels[labelSandbox], Hash: c.Labels[labelHash]}
}

func (i instance) address() netip.Addr {
	a, _ := netip.ParseAddr(i.Labels[labelAddress])
	return a
}

// ended is when the container ended, or could not be started.
func (i instance) ended() (at int64) {
	if i.Finished.IsZero() {
		return i.Created.UnixNano()
	}
	return i.Finished.UnixNano()
}

// newestFirst sorts instances by attempt, then by age.
func newestFirst(all []instance) {
	slices.SortFunc(all, func(a, b instance) int {
		if a.Attempt != b.Attempt {
			return b.Attempt - a.Attempt
		}
		return b.Created.Compare(a.Created)
	})
}

// specHash names the part of a container's spec whose change replaces the running container.
func specHash(c *v1.Container) string {
	h := sha256.Sum256([]byte(c.Name + "\x00" + c.Image))
	return hex.EncodeToString(h[:8])
}

// containerName is unique on the engine for one attempt of one container of one pod, so that making it twice shows.
func containerName(pod *v1.Pod, container string, attempt int) string {
	if container == "" {
		container = "POD"
	}
	ns, name := pod.Namespace, pod.Name
	return strings.Join([]string{"orpheus", container, name[:min(len(name), 80)], ns[:min(len(ns), 63)], string(pod.UID), strconv.Itoa(attempt)}, "_")
}

func podLabels(pod *v1.Pod) map[string]string {
	return map[string]string{labelUID: string(pod.UID), labelNamespace: pod.Namespace, labelPod: pod.Name,
		// Names that other tools of the field look for.
		"io.kubernetes.pod.uid": string(pod.UID), "io.kubernetes.pod.namespace": pod.Namespace, "io.kubernetes.pod.name": pod.Name}
}

func podName(pod *v1.Pod) string { return fmt.Sprintf("%s/%s", pod.Namespace, pod.Name) }
