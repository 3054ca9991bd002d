package docker

import (
	"context"
	"time"

	"github.com/moby/moby/client"
)

// Event says that something happened to a container of ours.
type Event struct {
	PodUID, Container, Action string
}

const (
	eventRetryMin = 100 * time.Millisecond
	eventRetryMax = 5 * time.Second
)

// Events calls each for every event until ctx ends, and lost whenever the stream (re)starts, since events may have been
// missed before. It comes back to an engine that went away by itself. Neither function may block.
func (e *Engine) Events(ctx context.Context, each func(Event), lost func()) {
	pause := eventRetryMin
	for ctx.Err() == nil {
		if e.stream(ctx, each, lost) {
			pause = eventRetryMin
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, eventRetryMax)
	}
}

// stream follows one connection and tells whether it ever said something.
func (e *Engine) stream(ctx context.Context, each func(Event), lost func()) (spoke bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if e.Ping(ctx) != nil {
		return false
	}
	res := e.c.Events(ctx, client.EventsListOptions{Filters: client.Filters{}.
		Add("type", "container").Add("label", Label).Add("event", "start", "die", "oom", "destroy", "pause", "unpause")})
	lost()
	for {
		select {
		case m := <-res.Messages:
			spoke = true
			a := m.Actor.Attributes
			each(Event{PodUID: a[Label], Container: m.Actor.ID, Action: string(m.Action)})
		case <-res.Err: //nolint:errcheck // why it ended makes no difference: the caller follows anew
			return spoke
		}
	}
}
