package gossip

// Expect tells the mesh of a server that it may not have met yet: somebody who has replicated its word. From then on it is among
// the Members, Suspect until it shows itself, Failed when it does not for 15 s of this process's waking time. Whoever was
// met already is left alone. Only the member's ID, name, region and zone count; where it is serf will say.
func (m *Mesh) Expect(who Member) {
	if who.ID == m.self.ID() {
		return
	}
	if !m.book.introduce(known{ID: who.ID, Name: who.Name, Region: who.Region, Zone: who.Zone}) {
		return
	}
	if n := m.link(); n != nil {
		n.tell(awaited{who.ID})
	}
}

// introduce remembers a peer only where nothing is known of it.
func (b *book) introduce(k known) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.peers[k.ID]; ok {
		return false
	}
	b.peers[k.ID] = k
	b.dirty = true
	return true
}
