package placement

// budget is a Budget with what the present Plan has left of it.
type budget struct {
	view     Budget
	selector *selector
	left     int64
}

func (w *world) putBudget(b Budget) {
	w.dropBudget(b.ID)
	x := &budget{view: b, selector: w.selector(b.Namespace, []PodTerm{{Match: b.Match, MatchNothing: b.MatchNothing}}), left: b.Allowed}
	x.selector.budgets = append(x.selector.budgets, x)
	w.budgets = append(w.budgets, x)
	w.stamp++
	w.relief++
}

func (w *world) dropBudget(id string) {
	for i, b := range w.budgets {
		if b.view.ID != id {
			continue
		}
		w.budgets = append(w.budgets[:i:i], w.budgets[i+1:]...)
		for j, x := range b.selector.budgets {
			if x == b {
				b.selector.budgets = append(b.selector.budgets[:j:j], b.selector.budgets[j+1:]...)
				break
			}
		}
		return
	}
}

// disruptable tells whether every budget that selects the pod lets one more go.
func (r *record) disruptable() bool {
	for _, s := range r.set.kind.selectors {
		for _, b := range s.budgets {
			if b.left <= 0 {
				return false
			}
		}
	}
	return true
}

// disrupt counts a pod that leaves its host against its budgets, n = 1, or takes that back, n = −1.
func (r *record) disrupt(n int64) {
	for _, s := range r.set.kind.selectors {
		for _, b := range s.budgets {
			b.left -= n
		}
	}
}
