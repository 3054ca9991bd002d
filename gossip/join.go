package gossip

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
)

// The join, on a stream that libp2p has encrypted and on which both peer IDs are proven:
//
//	joiner                                   member
//	  │── ask: nonce ─────────────────────────►│
//	  │◄── proof: CA, certificate, nonce, ─────│   signed over both peer IDs and both nonces
//	  │      signature                         │   by the certified key
//	  │  CA matches the token's hash? certificate, signature good?
//	  │── plea: secret, name ─────────────────►│   nobody unproven ever sees the secret
//	  │◄── grant: keys, certificate, peers ────│   the token is marked used
//	  │        or refusal: why                 │
const (
	joinProtocol = "/orpheus/join/1"
)

type joinAsk struct {
	Nonce []byte `json:"nonce"`
}

type joinProof struct {
	CA          []byte      `json:"ca"` // PEM
	Certificate certificate `json:"certificate"`
	Nonce       []byte      `json:"nonce"`
	Signature   []byte      `json:"signature"`
}

type joinPlea struct {
	Secret []byte `json:"secret"`
	Name   string `json:"name"`
}

type joinAnswer struct {
	Refused     string      `json:"refused,omitempty"` // one of the codes below
	Detail      string      `json:"detail,omitempty"`
	Keys        Keys        `json:"keys"`
	Certificate certificate `json:"certificate"`
	Peers       []known     `json:"peers"`
}

// refusals are the words for errors that the joiner should know by.
var refusals = map[string]error{
	"invalid": ErrTokenInvalid,
	"expired": ErrTokenExpired,
	"used":    ErrTokenUsed,
	"name":    ErrNameTaken,
}

// Join makes this server a member: it finds the mesh by the token's addresses (all at once, 10 s), else by mDNS on the local
// link, and writes the identity, keys, certificate and known peers to cfg.Dir. Nothing but the identity is written unless
// all went well; a Join whose answer was lost may be repeated for 10 minutes. Errors wrap ErrToken…, ErrUnreachable,
// ErrWrongMesh, ErrNameTaken or ErrInitialised.
func Join(ctx context.Context, cfg Config, text string) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	if Initialised(cfg.Dir) {
		return fmt.Errorf("join a mesh from %s: %w", cfg.Dir, ErrInitialised)
	}
	t, err := parseToken(text)
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	self, err := loadIdentity(cfg)
	if err != nil {
		return err
	}
	answer, err := knock(ctx, cfg, self, t)
	if err != nil {
		return fmt.Errorf("join mesh %s: %w", t.meshID()[:8], err)
	}
	if err := t.accepts(self, answer); err != nil {
		return fmt.Errorf("join mesh %s: %w", t.meshID()[:8], err)
	}
	return enrol(cfg, answer.Keys, answer.Certificate, answer.Peers)
}

// knock tries the token's addresses, then the local link.
func knock(ctx context.Context, cfg Config, self identity, t token) (joinAnswer, error) {
	var answer joinAnswer
	h, err := newGuest(cfg, self)
	if err != nil {
		return answer, err
	}
	defer h.Close()
	dial, cancel := context.WithTimeout(ctx, joinBudget)
	err = h.Connect(dial, peer.AddrInfo{ID: t.issuer, Addrs: t.addrs})
	cancel()
	if err == nil {
		return shake(ctx, h, self, t, t.issuer, cfg.Name)
	}
	reason := dialError(err)
	if !cfg.MDNS {
		return answer, noneOf(ErrUnreachable, reason)
	}
	cfg.Log.Info("the token's addresses do not answer; looking on the local link", "error", reason)
	answer, err = knockNearby(ctx, cfg, self, t)
	if errors.Is(err, ErrUnreachable) {
		err = noneOf(err, reason)
	}
	return answer, err
}

// noneOf tells a server that answers under another identity, as after an address changed hands, from silence.
func noneOf(err, reason error) error {
	if errors.Is(reason, ErrWrongMesh) {
		return reason
	}
	return fmt.Errorf("%w (%w)", err, reason)
}

// dialError keeps libp2p's account of all dials to one line.
func dialError(err error) error {
	var other sec.ErrPeerIDMismatch
	if errors.As(err, &other) {
		return fmt.Errorf("%w (at the token's address answers %s, the token was made by %s)", ErrWrongMesh, other.Actual, other.Expected)
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	return errors.New(text[:min(len(text), maxDialText)])
}

// shake runs the handshake with a connected peer.
func shake(ctx context.Context, h host.Host, self identity, t token, to peer.ID, name string) (joinAnswer, error) {
	ctx, cancel := context.WithTimeout(network.WithNoDial(ctx, "join"), joinTimeout)
	defer cancel()
	s, err := h.NewStream(ctx, to, joinProtocol)
	if err != nil {
		return joinAnswer{}, fmt.Errorf("%w (%s does not speak %s)", ErrWrongMesh, to, joinProtocol)
	}
	defer func() { _ = s.Reset() }()
	if err := s.SetDeadline(time.Now().Add(joinTimeout)); err != nil {
		return joinAnswer{}, err
	}
	if err := t.prove(s, self, to); err != nil {
		return joinAnswer{}, err
	}
	if err := writeMessage(s, joinPlea{Secret: t.secret[:], Name: name}); err != nil {
		return joinAnswer{}, fmt.Errorf("ask %s for admission: %w", to, err)
	}
	var answer joinAnswer
	if err := readMessage(s, maxJoin, &answer); err != nil {
		return joinAnswer{}, fmt.Errorf("read the answer of %s: %w; try again with the same token", to, err)
	}
	if answer.Refused == "" {
		return answer, nil
	}
	if known, ok := refusals[answer.Refused]; ok {
		return joinAnswer{}, known
	}
	return joinAnswer{}, fmt.Errorf("%s could not admit this server: %s", to, answer.Detail)
}

// prove makes the far side show that it belongs to the token's mesh.
func (t token) prove(s network.Stream, self identity, to peer.ID) error {
	nonce := make([]byte, 32)
	if _, err := rand.Read(nonce); err != nil {
		return err
	}
	if err := writeMessage(s, joinAsk{Nonce: nonce}); err != nil {
		return fmt.Errorf("ask %s for its proof: %w", to, err)
	}
	var proof joinProof
	if err := readMessage(s, maxHello, &proof); err != nil {
		return fmt.Errorf("%w (%s gave no proof: %w)", ErrWrongMesh, to, err)
	}
	ca, err := t.pinned(proof.CA)
	if err != nil {
		return err
	}
	if _, err := proof.Certificate.admits(ca, t.meshID(), to); err != nil {
		return fmt.Errorf("%w (%w)", ErrWrongMesh, err)
	}
	if err := verify(to.String(), transcript(t.meshID(), to, self.id, nonce, proof.Nonce), proof.Signature); err != nil {
		return fmt.Errorf("%w (%w)", ErrWrongMesh, err)
	}
	return nil
}

// pinned reads an authority's certificate and accepts only the one whose hash is in the token.
func (t token) pinned(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%w (it shows no authority)", ErrWrongMesh)
	}
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil || fingerprint(ca) != t.authority {
		return nil, fmt.Errorf("%w (it shows another authority)", ErrWrongMesh)
	}
	return ca, nil
}

// accepts checks what was granted before anything is written.
func (t token) accepts(self identity, a joinAnswer) error {
	if err := a.Keys.check(); err != nil {
		return fmt.Errorf("the keys that were granted are unusable: %w", err)
	}
	ca, err := t.pinned(a.Keys.CACert)
	if err != nil {
		return err
	}
	_, err = a.Certificate.admits(ca, t.meshID(), self.id)
	return err
}

// transcript is what the member signs: fresh for every join and bound to both ends.
func transcript(mesh string, member, joiner peer.ID, joinerNonce, memberNonce []byte) []byte {
	b, err := json.Marshal([]any{"orpheus join 1", mesh, member.String(), joiner.String(), joinerNonce, memberNonce})
	if err != nil {
		panic(err) // strings and bytes always encode
	}
	return b
}
