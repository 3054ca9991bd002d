package placement

import (
	"slices"
	"strconv"
)

// meets says whether a label (or its absence) satisfies the requirement, by the rules of Kubernetes selectors: NotIn
// holds where the key is absent, Gt and Lt compare integers.
func (r *Requirement) meets(value string, has bool) bool {
	switch r.Op {
	case In:
		return has && slices.Contains(r.Values, value)
	case NotIn:
		return !has || !slices.Contains(r.Values, value)
	case Exists:
		return has
	case DoesNotExist:
		return !has
	case Gt, Lt:
		return has && len(r.Values) == 1 && r.compares(value)
	}
	return false
}

func (r *Requirement) compares(value string) bool {
	have, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return false
	}
	limit, err := strconv.ParseInt(r.Values[0], 10, 64)
	if err != nil {
		return false
	}
	if r.Op == Gt {
		return have > limit
	}
	return have < limit
}

// tolerates follows core/v1: an empty key with Exists tolerates everything.
func (t *Toleration) tolerates(x *Taint) bool {
	if !t.AnyEffect && t.Effect != x.Effect {
		return false
	}
	if t.Key != "" && t.Key != x.Key {
		return false
	}
	return t.Exists || t.Value == x.Value
}

func tolerated(ts []Toleration, x *Taint) bool {
	for i := range ts {
		if ts[i].tolerates(x) {
			return true
		}
	}
	return false
}
