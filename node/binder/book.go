package binder

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orpheus-mesh/orpheus/placement"
)

// book keeps a placement.State in step with the picture, so that a decision costs what has changed since the last one. Owned by
// the loop.
type book struct {
	state    *placement.State
	options  placement.Options
	flapping map[string]time.Time   // as of the last question
	loose    map[types.UID]struct{} // pods that the last question or its Plan showed otherwise than the picture does

	audit func(placement.View, placement.Options, placement.Plan) // of every decision, by tests; nil otherwise
}

// decide gives the Plan that placement.Place would give for the picture's view.
func (b *book) decide(c *picture, q question, o placement.Options) placement.Plan {
	c.mu.Lock()
	anew := b.state == nil || o != b.options || c.news.all
	var d placement.Delta
	if anew {
		b.state = placement.NewState(o)
		v := c.look(q)
		d = placement.Delta{Hosts: v.Hosts, Pods: v.Pods, Budgets: v.Budgets}
	} else {
		d = c.delta(q, b.loose, !sameHosts(q.flapping, b.flapping))
	}
	c.news = newNews()
	var v placement.View
	if b.audit != nil {
		v = c.look(q)
	}
	c.mu.Unlock()
	plan := b.state.Apply(d)
	b.options, b.flapping, b.loose = o, q.flapping, loosened(q, plan)
	if b.audit != nil {
		b.audit(v, o, plan)
	}
	return plan
}

// loosened are the pods that have to be shown anew: the State counts the Plan as carried out, and the picture knows nothing of
// batches, flights and promises.
func loosened(q question, plan placement.Plan) map[types.UID]struct{} {
	out := map[types.UID]struct{}{}
	for _, p := range q.batch {
		out[p.UID] = struct{}{}
	}
	for uid := range q.flights {
		out[uid] = struct{}{}
	}
	for uid := range q.promised {
		out[uid] = struct{}{}
	}
	for uid := range q.leaving {
		out[uid] = struct{}{}
	}
	for _, x := range plan.Binds {
		out[types.UID(x.Pod)] = struct{}{}
	}
	for _, x := range plan.Preemptions {
		out[types.UID(x.Pod)] = struct{}{}
		for _, v := range x.Victims {
			out[types.UID(v)] = struct{}{}
		}
	}
	return out
}

// news is what happened to the picture since the last decision.
type news struct {
	all     bool // hosts came or went, or so many pods changed that it is cheaper to begin anew
	hosts   bool
	pods    map[types.UID]struct{}
	budgets map[string]struct{}
}

func newNews() news {
	return news{pods: map[types.UID]struct{}{}, budgets: map[string]struct{}{}}
}

// touch notes that a pod changed, came or went. mu is held.
func (c *picture) touch(uid string) {
	if c.news.all = c.news.all || len(c.news.pods) > 64+len(c.pods)/2; c.news.all {
		clear(c.news.pods)
		return
	}
	c.news.pods[types.UID(uid)] = struct{}{}
}

// touchBudget is touch for a disruption budget. mu is held.
func (c *picture) touchBudget(id string) {
	if c.news.all = c.news.all || len(c.news.budgets) > 64+len(c.budgets); c.news.all {
		clear(c.news.budgets)
		return
	}
	c.news.budgets[id] = struct{}{}
}

// delta is what leads from the last question to this one; loose are the pods that stood otherwise then than the picture shows
// them. mu is held.
func (c *picture) delta(q question, loose map[types.UID]struct{}, hosts bool) (d placement.Delta) {
	if c.news.hosts || hosts {
		d.Hosts = c.lookAtHosts(q.flapping)
	}
	for id := range c.news.budgets {
		if b, is := c.budgets[id]; is {
			d.Budgets = append(d.Budgets, b)
		} else {
			d.GoneBudgets = append(d.GoneBudgets, id)
		}
	}
	batch := make(map[types.UID]*corev1.Pod, len(q.batch))
	for _, p := range q.batch {
		batch[p.UID] = p
	}
	again := loosened(q, placement.Plan{})
	maps.Copy(again, loose)
	maps.Copy(again, c.news.pods)
	for uid := range again {
		p, stands := c.stands(uid, q, batch[uid])
		if stands {
			d.Pods = append(d.Pods, p)
		} else {
			d.GonePods = append(d.GonePods, string(uid))
		}
	}
	return d
}
