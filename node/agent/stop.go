package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/events"
)

const (
	leastGrace = 2 * time.Second  // left for the signal when a preStop hook used everything up
	killWait   = 10 * time.Second // for the kernel to end a killed process
)

// stopping is a container on its way down.
type stopping struct {
	host     string     // where the pod answers
	mu       sync.Mutex // guards deadline
	deadline time.Time
	hurry    chan struct{} // one place: the deadline moved
}

// shorten brings the deadline forward; it never moves it back.
func (s *stopping) shorten(to time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if to.Before(s.deadline) {
		s.deadline = to
		select {
		case s.hurry <- struct{}{}:
		default:
		}
	}
}

func (s *stopping) left() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Until(s.deadline)
}

// stop takes a container down beside the worker: preStop hook, signal, and after the grace the end. One that survives even
// that is reported, and tried again when the worker looks next.
func (w *worker) stop(ctx context.Context, pod *v1.Pod, st stop, grace time.Duration) {
	i := st.Instance
	if going, ok := w.stops[i.ID]; ok {
		going.shorten(time.Now().Add(grace))
		return
	}
	s := &stopping{host: w.address(pod), deadline: time.Now().Add(grace), hurry: make(chan struct{}, 1)}
	w.stops[i.ID] = s
	if st.Again {
		w.again[i.ID] = true
	}
	w.tellNormal(pod, i.Of, events.KillingContainer, st.Why)
	w.beside.Go(func() {
		err := w.takeDown(ctx, pod, i, s)
		if err != nil && ctx.Err() == nil {
			w.warn(pod, i.Of, events.FailedToKillPod, err.Error())
			w.a.cfg.Log.Warn("container does not stop", "pod", podName(pod), "container", i.Of, "error", err)
			after(ctx, troubleMost)
		}
		w.tell(ctx, func() {
			delete(w.stops, i.ID)
			w.doubt(i.ID)
		})
	})
}

func after(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (w *worker) takeDown(ctx context.Context, pod *v1.Pod, i instance, s *stopping) error {
	engine := w.a.cfg.Docker
	if s.left() > 0 {
		w.preStop(ctx, pod, i, s)
		s.mu.Lock()
		if least := time.Now().Add(leastGrace); s.deadline.Before(least) && grace(pod) > 0 {
			s.deadline = least
		}
		s.mu.Unlock()
		signal := i.StopSignal
		if signal == "" {
			signal = "SIGTERM"
		}
		if err := engine.Signal(ctx, i.ID, signal); err != nil {
			return err
		}
		if gone, err := w.awaitEnd(ctx, i.ID, s); gone || err != nil {
			return err
		}
	}
	if err := engine.Signal(ctx, i.ID, "SIGKILL"); err != nil {
		return err
	}
	last, cancel := context.WithTimeout(ctx, killWait)
	defer cancel()
	if err := engine.Wait(last, i.ID); err != nil {
		return fmt.Errorf("container %s of pod %s is still there %s after SIGKILL: %w", i.Of, podName(pod), killWait, err)
	}
	return nil
}

// awaitEnd waits for the container's end until the deadline, wherever that moves meanwhile.
func (w *worker) awaitEnd(ctx context.Context, id string, s *stopping) (gone bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	w.beside.Go(func() { ended <- w.a.cfg.Docker.Wait(ctx, id) })
	for {
		timer := time.NewTimer(max(s.left(), 0))
		select {
		case err := <-ended:
			timer.Stop()
			return err == nil, err
		case <-s.hurry:
			timer.Stop()
		case <-timer.C:
			return false, nil
		}
	}
}
