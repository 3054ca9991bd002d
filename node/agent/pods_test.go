package agent

import (
	"context"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

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

// A pod whose directory has been made and whose name is not in it yet is no stray; and one that has lost its worker gets another.
func TestPodsOfTheAPIAreNoStrays(t *testing.T) {
	inMachine(t, func(t *testing.T, m *machine) {
		pod := m.pod("p", one("c"))
		m.settle(time.Second)
		first := m.engine.find("uid-p", "c", docker.Running)
		ctx, cancel := context.WithCancel(t.Context())
		var workers sync.WaitGroup
		defer func() { cancel(); workers.Wait() }()
		store := cache.NewStore(cache.MetaNamespaceKeyFunc)
		if err := store.Add(pod); err != nil {
			t.Fatal(err)
		}
		m.agent.strays(ctx, &workers, store, []*v1.Pod{m.agent.remembered("uid-p", nil), {ObjectMeta: metav1.ObjectMeta{UID: "uid-p"}}})
		m.settle(time.Minute)
		if id := m.engine.find("uid-p", "c", docker.Running); id == "" || id != first {
			t.Errorf("%q runs, and ran as %q", id, first)
		}
		m.agent.mu.Lock()
		w := m.agent.workers["uid-p"]
		delete(m.agent.workers, "uid-p")
		m.agent.mu.Unlock()
		m.agent.strays(ctx, &workers, store, nil)
		m.agent.mu.Lock()
		if now := m.agent.workers["uid-p"]; now == nil || now == w {
			t.Error("nobody works for it")
		}
		m.agent.mu.Unlock()
	})
}
