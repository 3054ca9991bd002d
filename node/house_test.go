package node

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// ends notes which rooms have ended, in order.
type ends chan string

// room runs until it is told to end, and then takes its time.
func (e ends) room(name string, takes time.Duration) (string, func(context.Context) error) {
	return name, func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(takes)
		e <- name
		return nil
	}
}

func (e ends) all() (names []string) {
	close(e)
	for name := range e {
		names = append(names, name)
	}
	return names
}

// Peers excuse a daemon that said that it restarts for 15 s. An ingress that waits for its clients may take longer: were the
// mesh to leave at the same time, pods that run here would be replaced.
func TestTheMeshStaysInSightWhileDoorsLetGoOfTheirClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		h, over := newHouse(ctx, slog.New(slog.DiscardHandler)), make(ends, 8)
		h.ground.open(over.room("mesh", time.Millisecond))
		h.rooms.open(over.room("names", time.Millisecond))
		h.rooms.open(over.room("controllers", time.Second))
		h.doors.open(over.room("ingress", 25*time.Second))
		stop()
		if err := h.empty(); err != nil {
			t.Error(err)
		}
		want := []string{"ingress", "names", "controllers", "mesh"}
		if got := over.all(); !slices.Equal(got, want) {
			t.Errorf("they ended in the order %v, want %v", got, want)
		}
	})
}

// A room that does not end must not keep the daemon for ever, and the log says which it is and what it does.
func TestARoomThatDoesNotEndIsNamedAndLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		ctx, stop := context.WithCancel(t.Context())
		h := newHouse(ctx, slog.New(slog.NewTextHandler(&log, nil)))
		release := make(chan struct{})
		h.rooms.open("stuck", func(context.Context) error { <-release; return nil })
		h.rooms.open("orderly", func(ctx context.Context) error { <-ctx.Done(); return nil })
		stop()
		began := time.Now()
		if err := h.empty(); err != nil || time.Since(began) != lastEnd {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		for _, want := range []string{"rooms do not end", "rooms are left behind", "[stuck]", "TestARoomThatDoesNotEnd"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log does not say %q", want)
			}
		}
		if !slices.Equal(h.haunted, []string{"stuck"}) {
			t.Errorf("the house is haunted by %v", h.haunted)
		}
		close(release)
	})
}

func TestARoomThatFailsEmptiesTheHouse(t *testing.T) {
	for name, floorOf := range map[string]func(*house) *floor{
		"a door": func(h *house) *floor { return h.doors },
		"a room": func(h *house) *floor { return h.rooms },
		"ground": func(h *house) *floor { return h.ground },
	} {
		synctest.Test(t, func(t *testing.T) {
			h, over := newHouse(t.Context(), slog.New(slog.DiscardHandler)), make(ends, 8)
			broken := errors.New("broken")
			h.ground.open(over.room("mesh", 0))
			h.rooms.open(over.room("names", 0))
			h.doors.open(over.room("ingress", time.Second))
			floorOf(h).open("bad", func(context.Context) error { return broken })
			if err := h.empty(); !errors.Is(err, broken) {
				t.Errorf("%s failed: the daemon ends with %v", name, err)
			}
			if got, want := over.all(), []string{"ingress", "names", "mesh"}; !slices.Equal(got, want) {
				t.Errorf("%s failed: they ended in the order %v, want %v", name, got, want)
			}
		})
	}
}

func TestNothingBeginsInAHouseThatIsEmptied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		h, over := newHouse(ctx, slog.New(slog.DiscardHandler)), make(ends, 8)
		h.rooms.Go(func(ctx context.Context) error { // is at work when the end comes
			<-ctx.Done()
			h.doors.open(over.room("late door", 0))
			h.rooms.open(over.room("late room", 0))
			return nil
		})
		stop()
		if err := h.empty(); err != nil {
			t.Error(err)
		}
		if got := over.all(); len(got) != 0 {
			t.Errorf("begun after the end: %v", got)
		}
	})
}

func TestATakenAddressSaysWhatHelps(t *testing.T) {
	for room, want := range map[string]string{
		"mesh": "set listen to another", "api": "set api-listen to another", "streaming": "set streaming-listen to another",
	} {
		h := newHouse(t.Context(), slog.New(slog.DiscardHandler))
		h.rooms.open(room, func(context.Context) error { return os.NewSyscallError("bind", syscall.EADDRINUSE) })
		if err := h.empty(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", room, err)
		}
	}
}
