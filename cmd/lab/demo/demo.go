// Package demo holds the YAML of the demonstration: the to-do application of three tiers, and a Helm chart for tests of Helm. The files are
// plain Kubernetes; applying the directory in the order of their names is all there is to it.
package demo

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"time"
)

// What the manifests say, for those who test it.
const (
	Namespace = "todo"
	Host      = "todo.example.test"
	NodePort  = 30080
)

//go:embed *.yaml
var files embed.FS

// Chart is the Helm chart "greeting": values replicas, message and image.
//
//go:embed chart
var Chart embed.FS

// Manifests is the whole application, but for the certificate, as one YAML stream in the order to apply it.
func Manifests() ([]byte, error) {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for _, name := range names { // Glob sorts
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return bytes.Join(all, []byte("---\n")), nil
}

// TLS makes the secret todo-tls with a new certificate for Host, good for 30 days from an hour ago, and returns its manifest and the certificate
// itself (PEM), which is its own authority.
func TLS(now time.Time) (manifest, certificate []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: Host},
		DNSNames:     []string{Host},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.AddDate(0, 0, 30),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:        true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate for %s: %w", Host, err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	manifest = fmt.Appendf(nil, tlsSecret, Namespace,
		base64.StdEncoding.EncodeToString(certificate),
		base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	return manifest, certificate, nil
}

const tlsSecret = `apiVersion: v1
kind: Secret
metadata:
  name: todo-tls
  namespace: %s
type: kubernetes.io/tls
data:
  tls.crt: %s
  tls.key: %s
`
