package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/mount"
	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/events"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"
)

// start makes and starts one container, and tells whether one exists now.
func (w *worker) start(ctx context.Context, s *sighting, st start) bool {
	c := st.Container
	if err := w.setup(ctx, s.Pod); err != nil {
		w.note(c.Name, creating(s), err.Error(), troubleFirst)
		w.warn(s.Pod, "", events.FailedMountVolume, err.Error())
		return false
	}
	d, err := w.dress(ctx, s, st)
	if err != nil {
		return w.failed(s.Pod, c, reasonConfigError, err)
	}
	spec, err := w.a.containerSpec(s.Pod, c, d)
	if err != nil {
		return w.failed(s.Pod, c, reasonConfigError, err)
	}
	release, err := w.a.starting(ctx)
	if err != nil {
		return false
	}
	defer release()
	id, err := w.a.cfg.Docker.Create(ctx, spec)
	if err != nil {
		delete(w.pulls, c.Name) // it may be the image that went away
		return w.failed(s.Pod, c, reasonCreateError, plain("create", c, err))
	}
	w.tellNormal(s.Pod, c.Name, events.CreatedContainer, "Container created")
	if c.Lifecycle != nil && c.Lifecycle.PostStart != nil {
		w.hooks[id] = true // before anyone can see it run
	}
	if err := w.a.cfg.Docker.Start(ctx, id); err != nil {
		delete(w.hooks, id)
		delete(w.pulls, c.Name)
		w.failed(s.Pod, c, reasonRunError, plain("start", c, err))
		return true
	}
	w.tellNormal(s.Pod, c.Name, events.StartedContainer, "Container started")
	delete(w.pulls, c.Name)
	delete(w.troubles, c.Name)
	if w.hooks[id] {
		w.postStart(ctx, s.Pod, c, id)
	}
	return true
}

// plain is the engine's error without the name or number that this attempt gave the container: equal events count as one.
func plain(what string, c *v1.Container, err error) error {
	return fmt.Errorf("failed to %s container %q: %w", what, c.Name, cmp.Or(errors.Unwrap(err), err))
}

func (w *worker) failed(pod *v1.Pod, c *v1.Container, reason string, err error) bool {
	w.note(c.Name, reason, err.Error(), troubleMost)
	w.warn(pod, c.Name, "Failed", "Error: "+err.Error())
	return false
}

// dress looks up all that the container's spec needs.
func (w *worker) dress(ctx context.Context, s *sighting, st start) (dress, error) {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	c := st.Container
	d := dress{Sandbox: s.Sandbox.ID, ImageID: st.ImageID, Attempt: st.Attempt, Level: st.Level, Memory: w.a.host.memory()}
	if needsUser(s.Pod, c) {
		img, err := w.a.cfg.Docker.Image(ctx, st.ImageID)
		if err != nil {
			return d, err
		}
		d.ImageUser = img.User
	}
	e := environment{api: w.a.cfg.API, pod: s.Pod, container: c, pods: w.addr, host: w.a.cfg.Addr, allocatable: w.a.host.allocatable()}
	var err error
	if d.Env, err = e.variables(ctx); err != nil {
		return d, err
	}
	expand := expansion.MappingFuncFor(d.Env)
	d.Mounts, err = mountsOf(s.Pod, c, expand, func(i int, vm v1.VolumeMount, sub string) (string, error) {
		return w.a.volumes.Bind(s.Pod, w.mounted, c.Name, i, vm, sub)
	})
	if err != nil {
		return d, err
	}
	more, err := w.ownMounts(s.Pod, c, st.Attempt)
	d.Mounts = append(d.Mounts, more...)
	return d, err
}

// needsUser tells that the user which the image names has to be known.
func needsUser(pod *v1.Pod, c *v1.Container) bool {
	ps, cs := pod.Spec.SecurityContext, c.SecurityContext
	if ps == nil {
		ps = &v1.PodSecurityContext{}
	}
	if cs == nil {
		cs = &v1.SecurityContext{}
	}
	if or(cs.RunAsUser, ps.RunAsUser) != nil {
		return false
	}
	return or(cs.RunAsNonRoot, ps.RunAsNonRoot) != nil || or(cs.RunAsGroup, ps.RunAsGroup) != nil
}

// ownMounts are the files that every container gets unless it mounts something else there: hosts, resolv.conf, and the file
// for its last words.
func (w *worker) ownMounts(pod *v1.Pod, c *v1.Container, attempt int) (out []mount.Mount, err error) {
	dir := w.a.podDir(w.uid)
	for file, target := range map[string]string{"hosts": "/etc/hosts", "resolv.conf": "/etc/resolv.conf"} {
		if !mountsAt(c, target) {
			out = append(out, mount.Mount{Type: mount.TypeBind, Source: filepath.Join(dir, file), Target: target})
		}
	}
	slices.SortFunc(out, func(a, b mount.Mount) int { return strings.Compare(a.Target, b.Target) })
	path := w.a.lastWordsFile(w.uid, c.Name, attempt)
	if c.TerminationMessagePath == "" || mountsAt(c, c.TerminationMessagePath) {
		return out, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, fmt.Errorf("file for last words: %w", err)
	}
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return nil, fmt.Errorf("file for last words: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil { // whatever the umask says: the container may be any user
		return nil, fmt.Errorf("file for last words: %w", err)
	}
	return append(out, mount.Mount{Type: mount.TypeBind, Source: path, Target: c.TerminationMessagePath}), nil
}

func mountsAt(c *v1.Container, path string) bool {
	return slices.ContainsFunc(c.VolumeMounts, func(m v1.VolumeMount) bool { return filepath.Clean(m.MountPath) == filepath.Clean(path) })
}
