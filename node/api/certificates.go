package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

const (
	servingLife = 90 * 24 * time.Hour
	clientLife  = 365 * 24 * time.Hour
	// backdate lets a node whose clock is behind ours take a new certificate.
	backdate   = 25 * time.Hour
	renewEvery = 12 * time.Hour // how often certificates are looked at; they are renewed with a third of their life left
)

// authority signs with the mesh's CA.
type authority struct {
	cert *x509.Certificate
	pem  []byte
	key  *ecdsa.PrivateKey
}

func newAuthority(certPEM, keyPEM []byte) (*authority, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("read the mesh's CA: %w", err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("read the mesh's CA: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read the mesh's CA: its key is a %T, want ECDSA", pair.PrivateKey)
	}
	return &authority{cert: cert, pem: certPEM, key: key}, nil
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issue signs a template, which says whom and what for, for a new key.
func (a *authority) issue(t *x509.Certificate, life time.Duration) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, nil, err
	}
	now := time.Now()
	t.NotBefore, t.NotAfter = now.Add(-backdate), now.Add(life)
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign a certificate for %s: %w", t.Subject.CommonName, err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), nil
}

// client signs a certificate that names a user and its groups.
func (a *authority) client(user string, groups []string) (certPEM, keyPEM []byte, err error) {
	if user == "" {
		return nil, nil, errors.New("user: a client certificate needs a name")
	}
	return a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, clientLife)
}

// serving signs the certificate of this server under all its names.
func (a *authority) serving(c *Config) (certPEM, keyPEM []byte, err error) {
	names := []string{"localhost", c.Node, "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + c.Domain}
	ips := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, c.Advertise.AsSlice(), c.apiAddr().AsSlice()}
	return a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: c.Node},
		DNSNames:    names,
		IPAddresses: ips,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, servingLife)
}

// renewing is a certificate that is signed anew before it ends. It implements dynamiccertificates.CertKeyContentProvider.
type renewing struct {
	name string
	sign func() (certPEM, keyPEM []byte, err error)

	mu        sync.Mutex // guards what follows
	cert, key []byte
	pair      *tls.Certificate
	listeners []dynamiccertificates.Listener
}

func newRenewing(name string, sign func() (certPEM, keyPEM []byte, err error)) (*renewing, error) {
	r := &renewing{name: name, sign: sign}
	return r, r.renew()
}

func (r *renewing) Name() string { return r.name }

func (r *renewing) CurrentCertKeyContent() (certPEM, keyPEM []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cert, r.key
}

func (r *renewing) AddListener(l dynamiccertificates.Listener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listeners = append(r.listeners, l)
}

// current serves tls.Config.GetClientCertificate.
func (r *renewing) current(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pair, nil
}

func (r *renewing) renew() error {
	cert, key, err := r.sign()
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return err
	}
	if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
		return err
	}
	r.mu.Lock()
	r.cert, r.key, r.pair = cert, key, &pair
	listeners := r.listeners
	r.mu.Unlock()
	for _, l := range listeners {
		l.Enqueue()
	}
	return nil
}

// due tells that less than a third of the life is left, or that the clock is outside of it.
func (r *renewing) due(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	leaf := r.pair.Leaf
	return now.Before(leaf.NotBefore) || leaf.NotAfter.Sub(now) < leaf.NotAfter.Sub(leaf.NotBefore)/3
}

// keepCertificates renews until ctx ends.
func (s *Server) keepCertificates(ctx context.Context) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-tick.C:
			for _, c := range []*renewing{s.serving, s.streaming} {
				if !c.due(now) {
					continue
				}
				if err := c.renew(); err != nil {
					s.cfg.Log.Error("a certificate could not be renewed", "certificate", c.name, "err", err)
				}
			}
		}
	}
}
