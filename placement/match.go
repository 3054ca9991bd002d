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

// labelSet is a pod's labels, sorted by key.
type labelSet []Label

func (s labelSet) get(key string) (string, bool) {
	for i := range s {
		if s[i].Key == key {
			return s[i].Value, true
		}
	}
	return "", false
}

// selector chooses pods: those that meet every part. Most have one; the required affinities of a pod are judged
// together, because Kubernetes counts only pods that meet all of them.
type selector struct {
	id      int32
	parts   []part
	groups  []*group
	ledgers []*ledger
}

type part struct {
	all        bool
	namespaces []string
	match      []Requirement
	nothing    bool
}

func (s *selector) selects(namespace string, labels labelSet) bool {
	for i := range s.parts {
		if !s.parts[i].selects(namespace, labels) {
			return false
		}
	}
	return true
}

func (p *part) selects(namespace string, labels labelSet) bool {
	if p.nothing || !p.all && !slices.Contains(p.namespaces, namespace) {
		return false
	}
	for i := range p.match {
		value, has := labels.get(p.match[i].Key)
		if !p.match[i].meets(value, has) {
			return false
		}
	}
	return true
}

// handle is a requirement by which the selector can be found from a pod's labels; nil when it has none.
func (s *selector) handle() *Requirement {
	for i := range s.parts {
		for j := range s.parts[i].match {
			if r := &s.parts[i].match[j]; r.Op == In && len(r.Values) > 0 {
				return r
			}
		}
	}
	return nil
}
