package gossip

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"time"
)

// Keys are the secrets that every admitted member holds; they reach a new one over its mutually authenticated join and are
// kept in a file of mode 0600 beside the database, never in it.
type Keys struct {
	MeshID  string   `json:"meshID"`  // 16 bytes in hex
	CACert  []byte   `json:"caCert"`  // PEM
	CAKey   []byte   `json:"caKey"`   // PEM, ECDSA P-256
	Gossip  [][]byte `json:"gossip"`  // 32 B each; the first encrypts, all decrypt
	Secrets [][]byte `json:"secrets"` // 32 B key-encryption keys for Secrets at rest; the first encrypts, all decrypt
}

const keysFile = "mesh.json"

func newKeys(now time.Time) (Keys, error) {
	var raw [16 + 32 + 32]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return Keys{}, fmt.Errorf("make mesh keys: %w", err)
	}
	k := Keys{
		MeshID:  hex.EncodeToString(raw[:16]),
		Gossip:  [][]byte{raw[16:48]},
		Secrets: [][]byte{raw[48:]},
	}
	var err error
	if k.CACert, k.CAKey, err = newCA(k.MeshID, now); err != nil {
		return Keys{}, fmt.Errorf("make mesh authority: %w", err)
	}
	return k, nil
}

func newCA(mesh string, now time.Time) (cert, key []byte, err error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "orpheus mesh " + mesh[:8]},
		NotBefore:             now.Add(-time.Hour), // hosts whose clock is a little behind
		NotAfter:              now.Add(caLifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &priv.PublicKey, priv)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, nil, err
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	return cert, key, nil
}

func loadKeys(cfg Config) (Keys, error) {
	var k Keys
	err := readJSON(cfg.path(keysFile), &k)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return Keys{}, fmt.Errorf("read mesh keys: %w", err)
	}
	if err == nil {
		err = k.check()
	}
	if err != nil {
		return Keys{}, fmt.Errorf("the mesh's keys in %s are damaged (%w): %s", cfg.path(keysFile), err, anotherCopy)
	}
	return k, nil
}

// anotherCopy is the way out: the keys are the same on all servers.
const anotherCopy = "copy that file from another server of the mesh; where there is none, `orpheus restore` begins anew from a backup"

func (k Keys) check() error {
	if id, err := hex.DecodeString(k.MeshID); err != nil || len(id) != 16 {
		return errors.New("mesh ID is not 16 bytes in hex")
	}
	if len(k.Gossip) == 0 || len(k.Secrets) == 0 {
		return errors.New("gossip or secrets keys are missing")
	}
	for _, key := range append(append([][]byte(nil), k.Gossip...), k.Secrets...) {
		if len(key) != 32 {
			return fmt.Errorf("a key has %d bytes instead of 32", len(key))
		}
	}
	if _, err := k.authority(); err != nil {
		return err
	}
	_, err := k.signer()
	return err
}

func (k Keys) authority() (*x509.Certificate, error) {
	block, _ := pem.Decode(k.CACert)
	if block == nil {
		return nil, errors.New("the authority's certificate is not PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

func (k Keys) signer() (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(k.CAKey)
	if block == nil {
		return nil, errors.New("the authority's key is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the authority's key: %w", err)
	}
	if ec, ok := key.(*ecdsa.PrivateKey); ok {
		return ec, nil
	}
	return nil, fmt.Errorf("the authority's key is a %T, not ECDSA", key)
}

// fingerprint is what a token pins of the authority: the hash of its certificate.
func fingerprint(cert *x509.Certificate) [32]byte { return sha256.Sum256(cert.Raw) }
