package controllers

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// pump is one running watch of a view. It ends with its source, with the first error of its source, and by Stop, which
// waits for it.
type pump struct {
	view    *view
	inner   watch.Interface
	options metav1.ListOptions
	events  chan watch.Event
	ctx     context.Context
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

// Stop ends the watch.
func (p *pump) Stop() {
	p.cancel()
	p.done.Wait()
}

// ResultChan carries the events and is closed at the end.
func (p *pump) ResultChan() <-chan watch.Event { return p.events }

func (p *pump) run() {
	defer p.done.Done()
	defer close(p.events)
	defer func() { p.inner.Stop() }()
	again := time.NewTimer(0)
	again.Stop()
	defer again.Stop()
	var owed wake
	owing := false
	defer func() {
		if owing { // the next watch goes on where this one ends, without a list: it has to look again, too
			p.view.refresh(owed)
		}
	}()
	for {
		ok := true
		select {
		case <-p.ctx.Done():
			return
		case e, open := <-p.inner.ResultChan():
			ok = open && p.follow(e)
		case w := <-p.view.wake:
			owed.poke = owed.poke || w.poke
			ok, owing = p.refresh(owed, again)
		case <-again.C:
			ok, owing = p.refresh(owed, again)
		}
		if !owing {
			owed = wake{}
		}
		if !ok {
			return
		}
	}
}

func (p *pump) follow(e watch.Event) bool {
	o, isObject := e.Object.(object)
	v := p.view
	switch {
	case e.Type == watch.Error || !isObject:
		p.send([]watch.Event{e})
		return false
	case e.Type == watch.Bookmark:
		v.mu.Lock()
		v.rv = o.GetResourceVersion()
		v.mu.Unlock()
		return p.send([]watch.Event{e})
	}
	v.mu.Lock()
	events := v.take(e.Type, o)
	v.mu.Unlock()
	return p.send(events)
}

// refresh lists again where it must; when the list fails it keeps the old watch and tries a little later: then it still
// owes the wake.
func (p *pump) refresh(owed wake, again *time.Timer) (ok, owing bool) {
	v := p.view
	if !v.hides {
		v.mu.Lock()
		events := v.again(owed.poke)
		v.mu.Unlock()
		return p.send(events), false
	}
	_, items, rv, err := v.fetch(p.ctx, metav1.ListOptions{})
	if err != nil {
		again.Reset(v.retry)
		return p.ctx.Err() == nil, true
	}
	p.options.ResourceVersion = rv
	next, err := v.source.WatchWithContext(p.ctx, p.options)
	if err != nil {
		again.Reset(v.retry)
		return p.ctx.Err() == nil, true
	}
	p.inner.Stop()
	p.inner = next
	v.mu.Lock()
	events := append(v.replace(items, rv, owed.poke), v.bookmark())
	v.mu.Unlock()
	return p.send(events), false
}

func (p *pump) send(events []watch.Event) bool {
	for _, e := range events {
		select {
		case p.events <- e:
		case <-p.ctx.Done():
			return false
		}
	}
	return true
}
