package placement

// owner counts its pods per zone; those per host are in one table for all owners.
type owner struct {
	id    uint32
	name  string
	zones []int32
}

func (w *world) owner(name string) *owner {
	if name == "" {
		return nil
	}
	o := w.owners[name]
	if o == nil {
		o = &owner{id: uint32(len(w.owners)), name: name}
		w.owners[name] = o
	}
	return o
}

// lodge counts a pod of an owner more (or less) on host h.
func (w *world) lodge(o *owner, h, n int32) {
	if o == nil {
		return
	}
	w.lodgers.add(o.id, h, n)
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
		return int64(w.lodgers.get(o.id, h))
	case int(z) >= len(o.zones):
		return 0
	}
	return int64(o.zones[z])
}

// lodgers is a table of counts by owner and host, with open addressing: its look-ups are the only ones that every pod
// makes for every candidate.
type lodgers struct {
	slots []lodger // a power of two
	used  int      // slots with a key; counts that fell to 0 keep theirs until the table grows
}

type lodger struct {
	key   uint64 // 0: empty
	count int32
}

func (t *lodgers) find(owner uint32, h int32) (*lodger, uint64) {
	key := uint64(owner)<<32 | uint64(uint32(h)) + 1
	mask := uint64(len(t.slots) - 1)
	for i := key * 0x9e3779b97f4a7c15 >> 20 & mask; ; i = (i + 1) & mask {
		if s := &t.slots[i]; s.key == key || s.key == 0 {
			return s, key
		}
	}
}

func (t *lodgers) get(owner uint32, h int32) int32 {
	if len(t.slots) == 0 {
		return 0
	}
	s, _ := t.find(owner, h)
	return s.count
}

func (t *lodgers) add(owner uint32, h, n int32) {
	if 2*(t.used+1) > len(t.slots) {
		t.grow()
	}
	s, key := t.find(owner, h)
	if s.key == 0 {
		s.key = key
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
	size := 64
	for size < 4*(live+1) {
		size *= 2
	}
	old := t.slots
	t.slots, t.used = make([]lodger, size), 0
	for i := range old {
		if s := &old[i]; s.count != 0 {
			t.add(uint32(s.key-1>>32), int32(uint32(s.key-1)), s.count)
		}
	}
}
