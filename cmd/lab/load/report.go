package load

import (
	"slices"
	"sync"
	"time"
)

// Report is what a run found. Times are relative to its start.
type Report struct {
	Start      time.Time          `json:"start"`
	Took       Duration           `json:"took"`
	Sent       int                `json:"sent"`
	Failed     int                `json:"failed"`
	FailedPart float64            `json:"failedPart"` // of Sent, 0 to 1
	Reasons    map[string]int     `json:"reasons"`    // of the failures
	Statuses   map[int]int        `json:"statuses"`
	LongestGap Duration           `json:"longestGap"` // between two answers without failure; the ends of the run count too
	GapAt      Duration           `json:"gapAt"`      // when it began
	Latency    Latency            `json:"latency"`    // of what did not fail
	Targets    map[string]*Target `json:"targets,omitempty"`
	Failures   []Failure          `json:"failures"` // the first 50, by time
}

// Latency is how long answers took.
type Latency struct {
	Median Duration `json:"p50"`
	P95    Duration `json:"p95"`
	P99    Duration `json:"p99"`
	Worst  Duration `json:"max"`
}

// Target is one address's share.
type Target struct {
	Sent   int `json:"sent"`
	Failed int `json:"failed"`
}

// Failure is one request that failed.
type Failure struct {
	At     Duration `json:"at"` // when it was sent
	After  Duration `json:"after"`
	Target string   `json:"target,omitempty"`
	Reason string   `json:"reason"`
}

// Duration reads as "1.5s" in JSON.
type Duration time.Duration

// MarshalText rounds to 10 µs.
func (d Duration) MarshalText() ([]byte, error) {
	return []byte(time.Duration(d).Round(10 * time.Microsecond).String()), nil
}

// UnmarshalText takes what MarshalText gives.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

const maxFailures = 50

type sample struct {
	target    string
	due, done time.Time
	status    int    // 0: no answer
	reason    string // "" when it did not fail
}

// tally collects samples from many goroutines.
type tally struct {
	mu      sync.Mutex // guards samples
	samples []sample
}

func newTally(cfg Config) *tally {
	return &tally{samples: make([]sample, 0, min(int(cfg.Rate*cfg.Duration.Seconds())+1, 1<<20))}
}

func (t *tally) add(s sample) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.samples = append(t.samples, s)
}

func (t *tally) report(start, end time.Time) Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := Report{
		Start: start, Took: Duration(end.Sub(start)), Sent: len(t.samples),
		Reasons: map[string]int{}, Statuses: map[int]int{}, Targets: map[string]*Target{}, Failures: []Failure{},
	}
	var took []time.Duration
	good := []time.Time{start, end}
	slices.SortFunc(t.samples, func(a, b sample) int { return a.due.Compare(b.due) })
	for _, s := range t.samples {
		r.count(s)
		if s.reason == "" {
			took, good = append(took, s.done.Sub(s.due)), append(good, s.done)
		}
	}
	if r.Sent > 0 {
		r.FailedPart = float64(r.Failed) / float64(r.Sent)
	}
	r.Latency = latencyOf(took)
	r.gap(good)
	return r
}

func (r *Report) count(s sample) {
	if s.status != 0 {
		r.Statuses[s.status]++
	}
	target := r.Targets[s.target]
	if target == nil {
		target = &Target{}
		if s.target != "" {
			r.Targets[s.target] = target
		}
	}
	target.Sent++
	if s.reason == "" {
		return
	}
	r.Failed++
	target.Failed++
	r.Reasons[s.reason]++
	if len(r.Failures) < maxFailures {
		f := Failure{At: Duration(s.due.Sub(r.Start)), After: Duration(s.done.Sub(s.due)), Target: s.target, Reason: s.reason}
		r.Failures = append(r.Failures, f)
	}
}

func (r *Report) gap(good []time.Time) {
	slices.SortFunc(good, time.Time.Compare)
	for i := 1; i < len(good); i++ {
		if g := Duration(good[i].Sub(good[i-1])); g > r.LongestGap {
			r.LongestGap, r.GapAt = g, Duration(good[i-1].Sub(r.Start))
		}
	}
}

func latencyOf(took []time.Duration) Latency {
	if len(took) == 0 {
		return Latency{}
	}
	slices.Sort(took)
	at := func(part float64) Duration { return Duration(took[int(part*float64(len(took)-1))]) }
	return Latency{at(0.5), at(0.95), at(0.99), at(1)}
}
