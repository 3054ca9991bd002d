package api

import "crypto/tls"

// StreamingTLS is what the streaming server of this node presents and demands: the certificate of the node's name, always
// the newest, and client certificates of the mesh's CA.
func (s *Server) StreamingTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ClientAuth: tls.RequireAndVerifyClientCert,
		ClientCAs:  s.ca.pool(),
		NextProtos: []string{"http/1.1"}, // upgrades need it
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.serving.current(nil)
		},
	}
}
