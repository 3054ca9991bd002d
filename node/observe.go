package node

import (
	"context"
	"errors"

	"github.com/orpheus-mesh/orpheus/gossip"
)

// observeProtocol tells a host what was written elsewhere about the status of a pod there.
const observeProtocol = "/orpheus/observe/1"

func (s *server) serveObservations() {
	s.mesh.Serve(observeProtocol, func(ctx context.Context, _ gossip.ID, remark []byte) ([]byte, error) {
		return s.api.Observe(ctx, remark)
	})
}

// askHost carries a remark to the server of a node.
func (s *server) askHost(ctx context.Context, node string, remark []byte) ([]byte, error) {
	card, ok := s.roster.ByName(node)
	if !ok {
		return nil, errors.New("no server of the mesh is called " + node)
	}
	return s.mesh.Call(ctx, card.ID, observeProtocol, remark)
}
