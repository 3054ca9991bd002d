package absence

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/placement"
)

// audience is a running Record and what it told.
type audience struct {
	*Record
	changed chan struct{}
	wakes   <-chan struct{}

	mu      sync.Mutex // guards what is below
	members []gossip.Member
	told    map[string]int // by reason
	asked   []gossip.ID
}

// listen runs a record of the stage's members; whoever is asked remembers that s4 flaps.
func listen(t *testing.T, s *stage) *audience {
	a := &audience{changed: make(chan struct{}, 1), members: s.members, told: map[string]int{}}
	a.Record = New(Config{
		Members: func() []gossip.Member { a.mu.Lock(); defer a.mu.Unlock(); return a.members },
		Changed: a.changed, Doubt: func() bool { return false },
		Ask: func(_ context.Context, id gossip.ID) (map[string]placement.Flaps, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.asked = append(a.asked, id)
			return map[string]placement.Flaps{"s4": {Penalty: 5000, Suppressed: true, At: time.Now()}, "stranger": {Penalty: 5000, At: time.Now()}}, nil
		},
		Tell: func(_, reason, _ string) { a.mu.Lock(); defer a.mu.Unlock(); a.told[reason]++ },
		Log:  slog.New(slog.DiscardHandler),
	})
	a.wakes = a.Watch()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	return a
}

// heard is how often something was told, by reason.
func (a *audience) heard() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.told)
}

func (a *audience) questions() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

func (a *audience) woken() bool {
	select {
	case <-a.wakes:
		return true
	default:
		return false
	}
}

// What others remember is asked for, told, and over in time.
func TestRecordAsksTellsAndForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := listen(t, newStage(20, 2))
		if a.questions() == 0 || a.questions() > mostAsked || len(a.Flapping()) != 1 || len(a.Memory()) != 1 || a.heard()[Flapping] != 1 {
			t.Errorf("asked %d, flapping %v, told %v", a.questions(), a.Flapping(), a.heard())
		}
		a.woken()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if len(a.Flapping()) != 0 || a.heard()[Steady] != 1 || !a.woken() {
			t.Errorf("flapping %v, told %v", a.Flapping(), a.heard())
		}
	})
}
