package node

import (
	"encoding/json"

	"github.com/orpheus-mesh/orpheus/ingress"
	"github.com/orpheus-mesh/orpheus/netmesh/dns"
)

// will is what a daemon leaves to the image that follows it, so that ingress and DNS go on by it until that knows better: a
// second or so later, when its API and controllers run. It holds private keys and is handed on in memory only.
type will struct {
	Names        []dns.Service
	Rules        []ingress.Rule
	Certificates []ingress.Certificate
}

// note keeps the will up to date.
func (n *network) note(change func(*will)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(&n.will)
}

// bequeath writes the will. One that never knew anything leaves none.
func (s *server) bequeath() {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	if s.net.will.Names == nil {
		return
	}
	b, err := json.Marshal(s.net.will)
	if err != nil {
		s.log.Error("the next image will have to wait for its own picture of services and routes", "error", err)
		return
	}
	s.next.Sockets.Bequeath(b)
}

// recall has ingress and DNS go on where the image before stopped.
func (s *server) recall() {
	b := s.next.Sockets.Will()
	if len(b) == 0 {
		return
	}
	var w will
	if err := json.Unmarshal(b, &w); err != nil {
		s.log.Warn("what the image before left is not understood, ingress and DNS wait for their own picture", "error", err)
		return
	}
	s.setNames(w.Names)
	s.setRoutes(w.Rules, w.Certificates)
}
