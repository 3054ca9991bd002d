package ingress

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// certificates are found by server name: exact, then wildcard of one label.
type certificates struct {
	byName map[string]*tls.Certificate
}

// add reports what is wrong. A pair that does not load is left out; a pair that does not cover a host that it is meant for is
// served there all the same, since browsers explain that better than a handshake that fails.
func (cs *certificates) add(c Certificate) (errs []error) {
	pair, err := tls.X509KeyPair(c.Cert, c.Key)
	if err != nil {
		return []error{fmt.Errorf("certificate %s: %w", c.Name, err)}
	}
	if cs.byName == nil {
		cs.byName = map[string]*tls.Certificate{}
	}
	hosts := c.Hosts
	if len(hosts) == 0 {
		hosts = pair.Leaf.DNSNames
	}
	if len(hosts) == 0 {
		errs = append(errs, fmt.Errorf("certificate %s: it names no host and is for none", c.Name))
	}
	for _, h := range hosts {
		h = canonical(h)
		if err := covers(pair.Leaf, h); err != nil {
			errs = append(errs, fmt.Errorf("certificate %s is for host %s: %w", c.Name, h, err))
		}
		if cs.byName[h] == nil {
			cs.byName[h] = &pair
		}
	}
	return errs
}

func covers(leaf *x509.Certificate, host string) error {
	return leaf.VerifyHostname(strings.Replace(host, "*", "any", 1))
}

func (cs *certificates) find(name string) (*tls.Certificate, bool) {
	if c := cs.byName[name]; c != nil {
		return c, true
	}
	if _, suffix, ok := strings.Cut(name, "."); ok {
		if c := cs.byName["*."+suffix]; c != nil {
			return c, true
		}
	}
	return nil, false
}

// selfSigned makes the certificate for server names that nobody has given one for.
func selfSigned(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the fallback certificate's key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make the fallback certificate's number: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "Orpheus ingress: no certificate for this host"},
		DNSNames:     []string{"ingress.orpheus.invalid"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(10, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "Orpheus ingress"}}, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("sign the fallback certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
