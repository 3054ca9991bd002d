package node

import (
	"context"
	"fmt"

	"github.com/orpheus-mesh/orpheus/gossip"
)

const tokenProtocol = "/orpheus/token/1"

// serveTokens answers peers that met a token of this server's before they heard of its pod.
func (s *server) serveTokens() {
	s.mesh.Serve(tokenProtocol, func(ctx context.Context, _ gossip.ID, question []byte) ([]byte, error) {
		return s.api.ReviewToken(ctx, question)
	})
}

// askIssuer asks the server that signs ServiceAccount tokens with a key about one of them.
func (s *server) askIssuer(ctx context.Context, keyID string, question []byte) ([]byte, error) {
	for _, c := range s.roster.Cards() {
		if _, ok := c.TokenKeys[keyID]; ok {
			return s.mesh.Call(ctx, c.ID, tokenProtocol, question)
		}
	}
	return nil, fmt.Errorf("no server of the mesh signs with key %s", keyID)
}
