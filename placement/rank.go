package placement

// ranks counts placed pods by priority.
type ranks []rank

type rank struct{ priority, pods int32 }

func (rs *ranks) add(priority, n int32) {
	for i := range *rs {
		if r := &(*rs)[i]; r.priority == priority {
			r.pods += n
			return
		}
	}
	*rs = append(*rs, rank{priority, n})
}

// below tells whether any placed pod has a lower priority.
func (rs ranks) below(priority int32) bool {
	for i := range rs {
		if rs[i].pods > 0 && rs[i].priority < priority {
			return true
		}
	}
	return false
}
