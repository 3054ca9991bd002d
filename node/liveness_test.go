package node

import (
	"strings"
	"testing"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/node/roster"
)

// A card may arrive before its server was met: a start, a merge. That moves no pod.
func TestACardIsNoEvidenceOfADeath(t *testing.T) {
	m := oneMesh(t)
	s := sight{mesh: m, roster: roster.New(m.Store())}
	if got, _ := s.Host("b"); got != gossip.Alive {
		t.Errorf("a node without a card is %s", got)
	}
	wake, stop := m.Watch()
	defer stop()
	if err := s.roster.Publish(t.Context(), roster.Card{ID: "12D3KooWK7efNyvvTPkMQhZrtM63xjwnHgFRog2tRk6smxGosr78", Name: "b", Zone: "z"}); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.Host("b"); got != gossip.Suspect {
		t.Errorf("a node that was never met is %s", got)
	}
	for len(m.Members()) < 2 { // from now on the mesh looks out for it
		<-wake
	}
	if got, since := s.Host("b"); got != gossip.Suspect || since.IsZero() {
		t.Errorf("a node that is awaited is %s since %s", got, since)
	}
}

func TestAServerKeepsItsName(t *testing.T) {
	m := oneMesh(t)
	r := roster.New(m.Store())
	if err := keepsName(r, m.Self().ID, "anything"); err != nil {
		t.Errorf("a server without a card: %v", err)
	}
	if err := r.Publish(t.Context(), roster.Card{ID: m.Self().ID, Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := keepsName(r, m.Self().ID, "a"); err != nil {
		t.Error(err)
	}
	if err := keepsName(r, m.Self().ID, "b"); err == nil || !strings.Contains(err.Error(), `set name to "a"`) {
		t.Errorf("another name: %v", err)
	}
}
