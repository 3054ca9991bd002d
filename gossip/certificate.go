package gossip

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const certificateFile = "member.cert"

// certificate is the mesh's word that a peer was admitted: a claim signed by the mesh's authority. libp2p proves that the
// far side holds the peer's key; the certificate proves that the peer belongs here.
type certificate struct {
	Claim     []byte `json:"claim"` // claim as JSON: the exact signed bytes
	Signature []byte `json:"signature"`
	Refused   string `json:"refused,omitempty"` // in a hello: why the other one is not admitted
}

const refusedEvicted = "evicted"

type claim struct {
	Mesh     string `json:"mesh"`
	Peer     ID     `json:"peer"`
	Name     string `json:"name"`
	Admitted int64  `json:"admitted"` // seconds since 1970
}

var errNotAdmitted = errors.New("not a member of this mesh")

func (k Keys) issue(id ID, name string, now time.Time) (certificate, error) {
	signer, err := k.signer()
	if err != nil {
		return certificate{}, fmt.Errorf("certify %s: %w", id, err)
	}
	body, err := json.Marshal(claim{Mesh: k.MeshID, Peer: id, Name: name, Admitted: now.Unix()})
	if err != nil {
		return certificate{}, fmt.Errorf("certify %s: %w", id, err)
	}
	digest := claimDigest(body)
	sig, err := ecdsa.SignASN1(rand.Reader, signer, digest[:])
	if err != nil {
		return certificate{}, fmt.Errorf("certify %s: %w", id, err)
	}
	return certificate{Claim: body, Signature: sig}, nil
}

// admits checks the authority's signature and that the certificate is about the peer that showed it.
func (c certificate) admits(authority *x509.Certificate, mesh string, id peer.ID) (claim, error) {
	pub, ok := authority.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return claim{}, fmt.Errorf("the authority's key is a %T, not ECDSA", authority.PublicKey)
	}
	digest := claimDigest(c.Claim)
	if !ecdsa.VerifyASN1(pub, digest[:], c.Signature) {
		return claim{}, fmt.Errorf("%w: its certificate is not signed by the mesh's authority", errNotAdmitted)
	}
	var cl claim
	if err := json.Unmarshal(c.Claim, &cl); err != nil {
		return claim{}, fmt.Errorf("%w: its certificate is unreadable: %w", errNotAdmitted, err)
	}
	if cl.Mesh != mesh || cl.Peer != ID(id.String()) {
		return claim{}, fmt.Errorf("%w: its certificate is for peer %s of mesh %s", errNotAdmitted, cl.Peer, cl.Mesh)
	}
	return cl, nil
}

// claimDigest separates these signatures from everything else that the authority signs.
func claimDigest(body []byte) [32]byte {
	return sha256.Sum256(append([]byte("orpheus member certificate 1\x00"), body...))
}
