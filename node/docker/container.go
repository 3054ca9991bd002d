package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// State is how far a container has come.
type State string

const (
	Created State = "created" // never ran; with Error set, it could not be started
	Running State = "running"
	Exited  State = "exited"
)

// Container is what the engine knows of one container. Times are zero where the engine knows none.
type Container struct {
	ID, Name   string
	Labels     map[string]string
	Image      string // as asked for
	ImageID    string
	State      State
	PID        int // while running
	ExitCode   int
	OOMKilled  bool
	Error      string // why it could not be started
	StopSignal string // "" means SIGTERM
	TTY        bool
	Created    time.Time
	Started    time.Time
	Finished   time.Time
}

// Dead tells that the container runs no more, or never could.
func (c Container) Dead() bool {
	return c.State == Exited || c.State == Created && (c.Error != "" || c.ExitCode != 0)
}

// Spec is a container to be made. Name must be unique on the engine.
type Spec struct {
	Name   string
	Config container.Config
	Host   container.HostConfig
}

// Label keeps the containers apart: only those that carry it with some value are seen by List and Events.
const Label = "orpheus.dev/pod-uid"

// List gives the containers, dead ones included, that carry all the given labels ("key" or "key=value") and Label.
// What the engine removes meanwhile is left out. known may hold earlier answers by ID: a container whose state did not
// change is taken from there instead of being asked for again.
func (e *Engine) List(ctx context.Context, known map[string]Container, labels ...string) ([]Container, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := e.c.ContainerList(ctx, client.ContainerListOptions{All: true,
		Filters: client.Filters{}.Add("label", append(labels, Label)...)})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var out []Container
	for _, s := range res.Items {
		if k, ok := known[s.ID]; ok && k.State == stateOf(s.State) && k.State != Created {
			out = append(out, k)
			continue
		}
		c, err := e.Inspect(ctx, s.ID)
		if IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Container) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Inspect tells all about one container, by ID or name.
func (e *Engine) Inspect(ctx context.Context, id string) (Container, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := e.c.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return Container{}, fmt.Errorf("inspect container %s: %w", short(id), err)
	}
	i := res.Container
	c := Container{ID: i.ID, Name: strings.TrimPrefix(i.Name, "/"), ImageID: i.Image, Created: parseTime(i.Created)}
	if i.Config != nil {
		c.Labels, c.Image, c.StopSignal, c.TTY = i.Config.Labels, i.Config.Image, i.Config.StopSignal, i.Config.Tty
	}
	if s := i.State; s != nil {
		c.State, c.PID, c.ExitCode = stateOf(s.Status), s.Pid, s.ExitCode
		c.OOMKilled, c.Error = s.OOMKilled, s.Error
		c.Started, c.Finished = parseTime(s.StartedAt), parseTime(s.FinishedAt)
	}
	return c, nil
}

func stateOf(s container.ContainerState) State {
	switch s {
	case container.StateCreated:
		return Created
	case container.StateRunning, container.StatePaused, container.StateRestarting:
		return Running
	}
	return Exited
}

// parseTime reads the engine's times; its zero time ("0001-01-01…") is ours too.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 1970 {
		return time.Time{}
	}
	return t
}

// Create makes a container and does not start it. It is idempotent by name: a container of this name that was never
// started, left by a former try, is replaced.
func (e *Engine) Create(ctx context.Context, s Spec) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s.Host.OomScoreAdj = max(s.Host.OomScoreAdj, e.oomFloor)
	res, err := e.c.ContainerCreate(ctx, client.ContainerCreateOptions{Name: s.Name, Config: &s.Config, HostConfig: &s.Host})
	if errdefs.IsConflict(err) {
		if old, ierr := e.Inspect(ctx, s.Name); ierr == nil && old.State == Created {
			if err := e.Remove(ctx, old.ID); err != nil {
				return "", err
			}
			res, err = e.c.ContainerCreate(ctx, client.ContainerCreateOptions{Name: s.Name, Config: &s.Config, HostConfig: &s.Host})
		}
	}
	if err != nil {
		return "", fmt.Errorf("create container %s: %w", s.Name, err)
	}
	return res.ID, nil
}

// Start starts a made container; one that runs already stays as it is.
func (e *Engine) Start(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if _, err := e.c.ContainerStart(ctx, id, client.ContainerStartOptions{}); err != nil {
		return fmt.Errorf("start container %s: %w", short(id), err)
	}
	return nil
}

// Signal sends a signal ("SIGTERM", "SIGKILL", …). A container that does not run or is gone is no error.
func (e *Engine) Signal(ctx context.Context, id, signal string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := e.c.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: signal})
	if err != nil && !IsNotFound(err) && !errdefs.IsConflict(err) {
		return fmt.Errorf("send %s to container %s: %w", signal, short(id), err)
	}
	return nil
}

// Wait blocks until the container does not run, or ctx ends. One that is gone is no error.
func (e *Engine) Wait(ctx context.Context, id string) error {
	w := e.c.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case <-w.Result:
		return nil
	case err := <-w.Error:
		if IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("wait for container %s: %w", short(id), err)
	}
}

// Remove removes the container and its anonymous volumes, killing it when it still runs. One that is gone is no error.
func (e *Engine) Remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	_, err := e.c.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !IsNotFound(err) && !errdefs.IsConflict(err) {
		return fmt.Errorf("remove container %s: %w", short(id), err)
	}
	return nil
}

// IsNotFound tells that the engine has no such container or image.
func IsNotFound(err error) bool { return errdefs.IsNotFound(err) }

// IsUnreachable tells that the engine did not answer at all, as against an answer that says no.
func IsUnreachable(err error) bool {
	return client.IsErrConnectionFailed(err) || errdefs.IsDeadlineExceeded(err) || errdefs.IsUnavailable(err)
}

func short(id string) string { return id[:min(12, len(id))] }
