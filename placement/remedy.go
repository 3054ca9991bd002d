package placement

import (
	"cmp"
	"fmt"
)

// remedy lists everything that keeps the shape off host h. (Where a spread counts only hosts that the pod may choose, a
// change of that choice changes the counts too; this cannot be foreseen here.)
func (w *world) remedy(s *shape, h int32) Remedy {
	r := Remedy{Host: w.id[h]}
	add := func(k ChangeKind, what string, amount int64) { r.Changes = append(r.Changes, Change{k, what, amount}) }
	view, st := &w.view[h], s.static
	if w.barred[h] != "" {
		add(Ready, w.barred[h], 0)
	}
	if view.Cordoned && !st.rules.cordoned {
		add(Uncordon, "", 0)
	}
	for i := range view.Taints {
		if t := &view.Taints[i]; t.Effect != PreferNoSchedule && !tolerated(st.rules.tolerations, t) {
			add(Tolerate, t.String(), 0)
		}
	}
	if !w.chosen(&st.rules, h) {
		add(Affinity, "", 0)
	}
	for i := range s.ports {
		for j := range w.ports[h] {
			if s.ports[i].clashes(&w.ports[h][j]) {
				add(Port, fmt.Sprintf("%s %d", s.ports[i].protocol(), s.ports[i].Port), 0)
				break
			}
		}
	}
	w.lacks(s.spec, h, func(resource string, missing int64) { add(Resource, resource, missing) })
	if !w.holds(st, h) {
		add(Volume, "", 0)
	}
	w.quarrels(s, h, add)
	return r
}

// quarrels lists what other pods have against host h.
func (w *world) quarrels(s *shape, h int32, add func(ChangeKind, string, int64)) {
	for i := range s.hard {
		c := &s.hard[i]
		switch key := c.ledger.topology.key; {
		case c.ledger.topology.domain[h] < 0:
			add(SpreadLabel, key, 0)
		case s.skew(i, h) > c.maxSkew:
			add(SpreadEven, key, s.skew(i, h)-c.maxSkew)
		}
	}
	if len(s.with) > 0 && !s.company(h) {
		for _, g := range s.with {
			if d := g.topology.domain[h]; d < 0 || g.chosen[d] == 0 {
				add(Company, g.topology.key, 0)
			}
		}
	}
	for _, g := range s.apart {
		if d := g.topology.domain[h]; d >= 0 && g.chosen[d] > 0 {
			add(Apart, g.topology.key, int64(g.chosen[d]))
		}
	}
	for _, sel := range s.kind.selectors {
		for _, g := range sel.groups {
			if d := g.topology.domain[h]; d >= 0 && g.repels > 0 && g.apart[d] > 0 {
				add(KeptApart, g.topology.key, int64(g.apart[d]))
			}
		}
	}
}

// compareRemedies puts few changes first, then those that are easier made, then less of what is missing.
func compareRemedies(a, b Remedy) int {
	if c := cmp.Compare(len(a.Changes), len(b.Changes)); c != 0 {
		return c
	}
	for i := range a.Changes {
		x, y := &a.Changes[i], &b.Changes[i]
		if c := cmp.Or(cmp.Compare(x.Kind.effort(), y.Kind.effort()), cmp.Compare(x.What, y.What), cmp.Compare(x.Amount, y.Amount)); c != 0 {
			return c
		}
	}
	return cmp.Compare(a.Host, b.Host)
}

// effort ranks what a person can do about a Change.
func (k ChangeKind) effort() int {
	switch k {
	case Uncordon:
		return 0
	case Resource, Port:
		return 1
	case Tolerate, Affinity, SpreadLabel:
		return 2
	}
	return 3
}

// String is the notation of kubectl taint.
func (t *Taint) String() string {
	effect := [...]string{"NoSchedule", "PreferNoSchedule", "NoExecute"}[t.Effect]
	if t.Value == "" {
		return t.Key + ":" + effect
	}
	return t.Key + "=" + t.Value + ":" + effect
}
