package stories

import (
	"context"
	"slices"
	"time"

	"github.com/orpheus-mesh/orpheus/cmd/lab/demo"
	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
)

// CutVictim is CutPower of a given host, with load from before the cut on and for a given time in all, so that runs can be compared. The host stays off.
func (s *Stage) CutVictim(ctx context.Context, victim string, rate float64, before, total time.Duration, hosts []string) (cut PowerCut, err error) {
	cut.Victim = victim
	survivors := slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return h == victim })
	client, err := s.M.Client(ctx, survivors[len(survivors)-1])
	if err != nil {
		return cut, err
	}
	watchCtx, stop := context.WithCancel(ctx)
	defer stop()
	o, err := observe(watchCtx, client, demo.Namespace)
	if err != nil {
		return cut, err
	}
	cut.Load, err = s.underLoad(ctx, rate, before, 0, survivors, func() error {
		start := time.Now()
		err := s.cut(ctx, o, &cut)
		pause(ctx, total-before-time.Since(start))
		return err
	})
	return cut, err
}

// UnderLoad asks the application's ingress on the given hosts while act runs, and a moment before and after.
func (s *Stage) UnderLoad(ctx context.Context, rate float64, before, after time.Duration, hosts []string, act func() error) (load.Report, error) {
	return s.underLoad(ctx, rate, before, after, hosts, act)
}
