package api

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/api/replica"
)

// living is a store on a disk of its own, until end is called or the test ends.
func living(t *testing.T, dir string) (s replica.Store, end func()) {
	t.Helper()
	st := must(store.Open(store.Config{Dir: dir, Self: "node-a", Class: Class}))(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- st.Run(ctx) }()
	end = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(end)
	return replica.Over(st), end
}

// expect reads events until all that are wanted came, and fails at one that is not.
func expect(t *testing.T, see watch.Interface, want map[string]watch.EventType) (last map[string]string) {
	t.Helper()
	last = map[string]string{}
	late := time.After(20 * time.Second)
	for len(want) > 0 {
		select {
		case e, open := <-see.ResultChan():
			if !open {
				t.Fatalf("the watch ended before %v", want)
			}
			m, ok := e.Object.(metav1.Object)
			if !ok {
				t.Fatalf("%s %v", e.Type, e.Object)
			}
			if want[m.GetName()] != e.Type {
				t.Fatalf("%s %s, want %v", e.Type, m.GetName(), want)
			}
			last[m.GetName()] = m.GetResourceVersion()
			delete(want, m.GetName())
		case <-late:
			t.Fatalf("after 20 s %v did not come", want)
		}
	}
	return last
}

func TestAWatchOutlivesItsServer(t *testing.T) {
	dir := t.TempDir()
	st, end := living(t, dir)
	cfg, air := testConfig(t, st)
	cfg.Spare = func() bool { return true }
	at := cfg.Listener.Addr().String()
	first := startWith(t, cfg, air)
	client := first.admin(t)
	labelled := func(name, color string) *v1.ConfigMap {
		return &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"color": color}}, Data: map[string]string{"k": "v"}}
	}
	maps1 := client.CoreV1().ConfigMaps("default")
	for _, name := range []string{"a", "b"} {
		must(maps1.Create(t.Context(), labelled(name, "red"), metav1.CreateOptions{}))(t)
	}
	must(maps1.Create(t.Context(), labelled("other", "blue"), metav1.CreateOptions{}))(t)
	red := metav1.ListOptions{LabelSelector: "color=red"}
	list := must(maps1.List(t.Context(), red))(t)
	red.ResourceVersion = list.ResourceVersion
	see := must(maps1.Watch(t.Context(), red))(t)
	defer see.Stop()
	must(maps1.Create(t.Context(), labelled("c", "red"), metav1.CreateOptions{}))(t)
	before := expect(t, see, map[string]watch.EventType{"c": watch.Added})

	for life := range 2 {
		if life == 0 {
			if err := first.stop(); err != nil {
				t.Fatal(err)
			}
			end()
			if err := first.Outlive(); err != nil {
				t.Fatal(err)
			}
		}
		st, end = living(t, dir)
		nextCfg, nextAir := testConfig(t, st)
		nextCfg.Listener.Close()
		nextCfg.Listener, nextCfg.Keys, nextCfg.TokenKey = must(net.Listen("tcp", at))(t), cfg.Keys, cfg.TokenKey
		next := startWith(t, nextCfg, nextAir)
		now := expect(t, see, map[string]watch.EventType{"a": watch.Modified, "b": watch.Modified, "c": watch.Modified})
		if len(before["c"]) != len(now["c"]) || before["c"] >= now["c"] {
			t.Errorf("life %d: the revision of c was %s, is %s", life, before["c"], now["c"])
		}
		before = now
		c := next.admin(t).CoreV1().ConfigMaps("default")
		// A client that keeps what it saw can write it.
		b := must(c.Get(t.Context(), "b", metav1.GetOptions{}))(t)
		b.ResourceVersion = now["b"]
		b.Data["k"] = fmt.Sprint("w", life)
		must(c.Update(t.Context(), b, metav1.UpdateOptions{}))(t)
		expect(t, see, map[string]watch.EventType{"b": watch.Modified})
		b = must(c.Get(t.Context(), "b", metav1.GetOptions{}))(t)
		b.Labels["color"] = "blue"
		b = must(c.Update(t.Context(), b, metav1.UpdateOptions{}))(t)
		expect(t, see, map[string]watch.EventType{"b": watch.Deleted})
		b.Labels["color"] = "red"
		must(c.Update(t.Context(), b, metav1.UpdateOptions{}))(t)
		expect(t, see, map[string]watch.EventType{"b": watch.Added})
		if n := next.cfg.Lasting.Active(); n != 0 {
			t.Errorf("life %d takes %d requests of an earlier process for what it has to carry", life, n)
		}
		if err := next.stop(); err != nil {
			t.Fatal(err)
		}
		end()
	}
	if n := first.cfg.Lasting.Active(); n != 1 {
		t.Errorf("the first server carries %d requests, want the watch", n)
	}
	first.Dismiss()
	if e, open := <-see.ResultChan(); open {
		t.Errorf("a dismissed watch brought %s", e.Type)
	}
	eventually(t, "nothing is carried", func() bool { return first.cfg.Lasting.Active() == 0 })
}

func TestWatchesEndWithAServerThatHasNoSuccessor(t *testing.T) {
	w := start(t, onDisk(t))
	see := must(w.admin(t).CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{}))(t)
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	for e := range see.ResultChan() {
		if e.Type == watch.Error {
			t.Errorf("it ended with %v", e.Object)
		}
	}
}

// Every kind that is stored can be watched in the next life.
func TestEveryKindHasAResource(t *testing.T) {
	w := start(t, onDisk(t))
	for _, kind := range slices.Sorted(maps.Keys(w.kinds)) {
		if _, err := resourceOf(kind); err != nil {
			t.Error(err)
		}
	}
}
