package placement

// owner counts its pods per host and per zone.
type owner struct {
	name  string
	hash  uint64
	hosts lodgers
	zones []int32
}

func (w *world) owner(of string) *owner {
	if of == "" {
		return nil
	}
	o := w.owners[of]
	if o == nil {
		o = &owner{name: of, hash: name(of)}
		w.owners[of] = o
	}
	return o
}

// lodge counts a pod of an owner more (or less) on host h.
func (w *world) lodge(o *owner, h, n int32) {
	if o == nil {
		return
	}
	o.hosts.add(h, n)
	if z := w.zones.domain[h]; z >= 0 {
		for int(z) >= len(o.zones) {
			o.zones = append(o.zones, 0)
		}
		o.zones[z] += n
	}
}

// zone is how many pods of the owner host h's zone has; hosts without a zone are one zone of their own each.
func (w *world) zone(o *owner, h int32) int64 {
	z := w.zones.domain[h]
	switch {
	case z < 0:
		return int64(o.hosts.get(h))
	case int(z) >= len(o.zones):
		return 0
	}
	return int64(o.zones[z])
}

// lodgers is a table of counts by host, with open addressing: its look-ups are made for every candidate of every pod.
type lodgers struct {
	slots []lodger // a power of two
	used  int      // slots with a host; counts that fell to 0 keep theirs until the table grows
}

type lodger struct{ host, count int32 } // host 0: nobody, else one more than the index

func (t *lodgers) find(h int32) *lodger {
	mask := uint32(len(t.slots) - 1)
	for i := uint32(h) * 0x9e3779b1 >> 8 & mask; ; i = (i + 1) & mask {
		if s := &t.slots[i]; s.host == h+1 || s.host == 0 {
			return s
		}
	}
}

func (t *lodgers) get(h int32) int32 {
	if len(t.slots) == 0 {
		return 0
	}
	return t.find(h).count
}

func (t *lodgers) add(h, n int32) {
	if 2*(t.used+1) > len(t.slots) {
		t.grow()
	}
	s := t.find(h)
	if s.host == 0 {
		s.host = h + 1
		t.used++
	}
	s.count += n
}

func (t *lodgers) grow() {
	live := 0
	for i := range t.slots {
		if t.slots[i].count != 0 {
			live++
		}
	}
	size := 4
	for size < 4*(live+1) {
		size *= 2
	}
	old := t.slots
	t.slots, t.used = make([]lodger, size), 0
	for i := range old {
		if s := &old[i]; s.count != 0 {
			t.add(s.host-1, s.count)
		}
	}
}
