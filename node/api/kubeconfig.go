package api

import (
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Kubeconfig makes a kubeconfig with a new client certificate, signed by the mesh's CA and valid for a year, that names
// the user and its groups (system:masters may do everything). server is the URL of any node's API.
func (s *Server) Kubeconfig(user string, groups []string, server string) ([]byte, error) {
	cert, key, err := s.ca.client(user, groups)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	const name = "orpheus"
	c := clientcmdapi.NewConfig()
	c.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: s.ca.pem}
	c.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	c.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: user}
	c.CurrentContext = name
	return clientcmd.Write(*c)
}
