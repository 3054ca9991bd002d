package replica_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"

	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/api/internal/memory"
)

// lives are the next lives of a store, one after the other.
type lives struct {
	asked int
	next  chan *watch.FakeWatcher
}

func (l *lives) Watch(ctx context.Context, _ store.Selector) (watch.Interface, error) {
	l.asked++
	select {
	case w := <-l.next:
		return w, nil
	default:
		return nil, errors.New("nobody is there")
	}
}

func aPod(name, uid, rev string) *example.Pod {
	return &example.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(uid), ResourceVersion: rev}}
}

func bookmark(rev string, all bool) runtime.Object {
	p := &example.Pod{ObjectMeta: metav1.ObjectMeta{ResourceVersion: rev}}
	if all {
		p.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	}
	return p
}

// told spells the events that are there.
func told(t *testing.T, w watch.Interface) (all []string) {
	t.Helper()
	synctest.Wait()
	for {
		select {
		case e, open := <-w.ResultChan():
			if !open {
				return append(all, "end")
			}
			p, ok := e.Object.(*example.Pod)
			if !ok {
				t.Fatalf("%s %v", e.Type, e.Object)
			}
			all = append(all, fmt.Sprintf("%s %s%s %s", e.Type, p.Name, p.UID, p.ResourceVersion))
			synctest.Wait()
		default:
			return all
		}
	}
}

func TestAWatchGoesOnInTheNextLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		b := newBench(t, memory.New(), false)
		for _, name := range []string{"a", "b", "c", "d"} {
			if err := b.Create(ctx, "/pods/ns/"+name, aPod(name, "1", ""), nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		pick := storage.Everything
		pick.AllowWatchBookmarks = true
		w, err := b.Watch(ctx, "/pods/ns", storage.ListOptions{Recursive: true, ResourceVersion: fmt.Sprint(b.st.Rev()), Predicate: pick})
		if err != nil {
			t.Fatal(err)
		}
		expect := func(what string, want ...string) {
			t.Helper()
			if got := told(t, w); !slices.Equal(got, want) {
				t.Errorf("%s: it was told %q, want %q", what, got, want)
			}
		}
		expect("nothing happened")
		next := &lives{next: make(chan *watch.FakeWatcher, 1)}
		b.r.Outlive(next)
		time.Sleep(5 * time.Second)
		expect("nobody is there yet")
		if next.asked < 5 || next.asked > 40 {
			t.Errorf("the next life was asked for %d times in 5 s", next.asked)
		}

		life := watch.NewFakeWithChanSize(10, false)
		life.Add(aPod("e", "1", "5003"))
		life.Add(aPod("a", "1", "5002"))
		life.Add(aPod("b", "2", "5001"))
		next.next <- life
		time.Sleep(time.Second)
		expect("that is not all yet")
		life.Action(watch.Bookmark, bookmark("5003", true))
		expect("it knows a and another b; of c and d nothing is known", "DELETED b1 5001", "ADDED b2 5001", "MODIFIED a1 5002", "ADDED e1 5003")
		life.Action(watch.Bookmark, bookmark("5004", false))
		expect("a bookmark would say that c and d are there")
		life.Add(aPod("d", "1", "5005"))
		life.Delete(aPod("a", "1", "5006"))
		expect("d is back", "MODIFIED d1 5005", "DELETED a1 5006")
		time.Sleep(10 * time.Second)
		expect("c does not come back", "DELETED c1 5006")
		life.Action(watch.Bookmark, bookmark("5007", false))
		expect("all is told", "BOOKMARK  5007")

		life.Error(&metav1.Status{Message: "this server ends"})
		life = watch.NewFakeWithChanSize(10, false)
		life.Add(aPod("e", "1", "6000"))
		life.Add(aPod("b", "2", "6000"))
		life.Add(aPod("d", "1", "6000"))
		life.Action(watch.Bookmark, bookmark("6000", true))
		next.next <- life
		time.Sleep(time.Second)
		expect("another life has the same", "MODIFIED e1 6000", "MODIFIED b2 6000", "MODIFIED d1 6000")
		life.Stop()
		time.Sleep(59 * time.Second)
		expect("it waits for a third life")
		time.Sleep(2 * time.Second)
		expect("which does not come", "end")
	})
}
