package agent

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/orpheus-mesh/orpheus/node/docker"
)

// A wish that reaches a worker in the moment of its end is not lost with it.
func TestAPodThatComesBackAtItsWorkersEndGetsAnother(t *testing.T) {
	inMachine(t, func(t *testing.T, m *machine) {
		pod := m.pod("p", one("c"))
		m.settle(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		var workers sync.WaitGroup
		defer func() { cancel(); workers.Wait() }()
		ended := newWorker(m.agent, pod)
		ended.wish(pod, false)
		m.agent.retire(ctx, &workers, ended)
		m.settle(time.Second)
		m.agent.mu.Lock()
		now := m.agent.workers[pod.UID]
		m.agent.mu.Unlock()
		if now == nil || now == ended {
			t.Error("nobody works for it")
		}
		if id := m.engine.find("uid-p", "c", docker.Running); id == "" {
			t.Error("it does not run")
		}
	})
}

// A pod that is wanted again after its end has begun needs a worker that has given nothing back.
func TestAPodThatIsWantedAgainGetsAnotherWorker(t *testing.T) {
	inMachine(t, func(t *testing.T, m *machine) {
		pod := m.pod("p", one("c"))
		m.settle(time.Second)
		w := newWorker(m.agent, pod)
		w.wish(pod, true)
		m.engine.setDown(true) // so that its end does not come at once
		if done, _ := w.sync(t.Context()); done {
			t.Fatal("it ended while nobody answered")
		}
		m.engine.setDown(false)
		w.burying = true
		w.wish(pod, false)
		if done, _ := w.sync(t.Context()); !done {
			t.Error("the worker goes on with what is left of the pod")
		}
	})
}
