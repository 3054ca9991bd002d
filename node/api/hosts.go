package api

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	kubeletclient "k8s.io/kubernetes/pkg/kubelet/client"
)

// streams finds the streaming servers of nodes for logs, exec, attach and port-forward. URLs carry the node's name, so
// that its certificate is checked against it; the dialer finds the address at that moment.
type streams struct {
	cfg       *Config
	transport *http.Transport
}

func newStreams(cfg *Config, ca *authority, cert *renewing) *streams {
	s := &streams{cfg: cfg}
	s.transport = &http.Transport{
		DialContext:           s.dial,
		TLSClientConfig:       &tls.Config{RootCAs: ca.pool(), GetClientCertificate: cert.current, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   4,
	}
	return s
}

func (s *streams) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	node, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	at, err := s.cfg.Hosts(node)
	if err != nil {
		return nil, fmt.Errorf("find the streaming server of node %s: %w", node, err)
	}
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return d.DialContext(ctx, network, at.String())
}

// GetConnectionInfo implements kubeletclient.ConnectionInfoGetter.
func (s *streams) GetConnectionInfo(_ context.Context, node types.NodeName) (*kubeletclient.ConnectionInfo, error) {
	at, err := s.cfg.Hosts(string(node))
	if err != nil {
		return nil, fmt.Errorf("find the streaming server of node %s: %w", node, err)
	}
	return &kubeletclient.ConnectionInfo{
		Scheme: "https", Hostname: string(node), Port: strconv.Itoa(int(at.Port())),
		Transport: s.transport, InsecureSkipTLSVerifyTransport: s.transport,
	}, nil
}

// StreamingTLS is for the streaming server of this node: it shows this node's certificate, under the node's name, and lets
// in only certificates of the mesh's CA in the group system:masters, as API servers have them. Whoever has less goes
// through an API server, which asks RBAC.
func (s *Server) StreamingTLS() *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS12,
		NextProtos:       []string{"http/1.1"}, // exec and its like upgrade the connection
		GetCertificate:   func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.serving.current(nil) },
		ClientAuth:       tls.RequireAndVerifyClientCert,
		ClientCAs:        s.ca.pool(),
		VerifyConnection: mastersOnly,
	}
}

func mastersOnly(c tls.ConnectionState) error {
	if who := c.PeerCertificates[0].Subject; !slices.Contains(who.Organization, user.SystemPrivilegedGroup) {
		return fmt.Errorf("%s may not stream from a node directly: ask an API server", who.CommonName)
	}
	return nil
}
