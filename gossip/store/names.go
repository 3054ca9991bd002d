package store

// names shares the strings that most records have in common.
type names map[string]string

func (n names) share(r *Record) {
	for _, s := range [...]*string{&r.Kind, &r.Namespace, &r.Root.Kind, &r.Root.Namespace, &r.Dot.Actor, &r.Basis.Dot.Actor} {
		*s = n.one(*s)
	}
	if r.Root.Name == r.Name {
		r.Root.Name = r.Name
	}
	for i := range r.context {
		r.context[i].actor = n.one(r.context[i].actor)
	}
}

func (n names) one(s string) string {
	if t, ok := n[s]; ok {
		return t
	}
	n[s] = s
	return s
}
