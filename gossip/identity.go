package gossip

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

const identityFile = "identity.key"

// identity is a server's key pair: its peer ID is derived from it, and whoever holds it is that server.
type identity struct {
	key crypto.PrivKey
	id  peer.ID
}

func (i identity) ID() ID { return ID(i.id.String()) }

// loadIdentity reads the key of dir, or makes one when there is none yet.
func loadIdentity(cfg Config) (identity, error) {
	path := cfg.path(identityFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeIdentity(cfg)
	}
	if err != nil {
		return identity{}, fmt.Errorf("read identity: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return identity{}, fmt.Errorf("read identity: %s holds no PEM block; restore it, or remove the directory to join anew", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return identity{}, fmt.Errorf("read identity %s: %w", path, err)
	}
	ed, ok := key.(ed25519.PrivateKey)
	if !ok {
		return identity{}, fmt.Errorf("read identity: %s holds a %T, not an ed25519 key", path, key)
	}
	return newIdentity(ed)
}

func makeIdentity(cfg Config) (identity, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return identity{}, fmt.Errorf("make identity: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return identity{}, fmt.Errorf("make identity: %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return identity{}, fmt.Errorf("make identity: %w", err)
	}
	pemBytes := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := writeFile(cfg.path(identityFile), pemBytes); err != nil {
		return identity{}, fmt.Errorf("make identity: %w", err)
	}
	return newIdentity(key)
}

func newIdentity(key ed25519.PrivateKey) (identity, error) {
	priv, err := crypto.UnmarshalEd25519PrivateKey(key)
	if err != nil {
		return identity{}, fmt.Errorf("use identity: %w", err)
	}
	id, err := peer.IDFromPrivateKey(priv)
	if err != nil {
		return identity{}, fmt.Errorf("use identity: %w", err)
	}
	return identity{key: priv, id: id}, nil
}

// verify checks a signature by the owner of a peer ID; an ed25519 peer ID holds its public key. An ID has one spelling: under others its owner
// would be other authors, none of them evicted and each with a rate of its own.
func verify(actor string, msg, sig []byte) error {
	id, err := peer.Decode(actor)
	if err != nil {
		return fmt.Errorf("read peer ID %q: %w", actor, err)
	}
	if id.String() != actor {
		return fmt.Errorf("read peer ID %q: it is spelled %s", actor, id)
	}
	pub, err := id.ExtractPublicKey()
	if err != nil {
		return fmt.Errorf("read key of peer %s: %w", actor, err)
	}
	if ok, err := pub.Verify(msg, sig); err != nil || !ok {
		return fmt.Errorf("signature of peer %s does not match", actor)
	}
	return nil
}
