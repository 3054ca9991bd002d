package api

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/node/api/lens"
	"github.com/orpheus-mesh/orpheus/node/api/replica"
	"github.com/orpheus-mesh/orpheus/node/lasting"
)

// Config is what a Server needs. Fields without a default are required.
type Config struct {
	Store     replica.Store
	Keys      gossip.Keys                                                              // the CA and the keys of Secrets at rest
	Node      string                                                                   // this node's Kubernetes name
	Advertise netip.Addr                                                               // where peers and pods reach this API server
	Listen    string                                                                   // default ":6443"
	Listener  net.Listener                                                             // instead of Listen, where set
	Open      func(ctx context.Context, network, address string) (net.Listener, error) // opens Listen; nil: the host's

	Services  netip.Prefix      // default 10.96.0.0/16; its first address is the API's own
	NodePorts utilnet.PortRange // default 30000-32767
	Domain    string            // default cluster.local

	Live    lens.Liveness   // what this node believes of hosts
	Changed <-chan struct{} // a wake after any change of Live; one reader: this server

	Mine func(kind, namespace, name string) bool // whether this node is the home of an object of the store; nil: of every one
	Sure func() bool                             // whether it may now do to objects what a fuller view of them might speak against; nil: always

	// Hosts finds the streaming server of a node: logs, exec, attach, port-forward. Its certificate must be for the node's
	// name and signed by the mesh's CA.
	Hosts func(node string) (netip.AddrPort, error)

	TokenKey  *ecdsa.PrivateKey                  // signs ServiceAccount tokens here; see LoadTokenKey
	TokenKeys func() map[string]crypto.PublicKey // of all nodes, by KeyID; called per request, must not block

	// AskIssuer carries a question to the node that signs with a key, to its ReviewToken, and brings the answer back; nil: a token is
	// judged by what is known here. Called per request, for at most 3 s.
	AskIssuer func(ctx context.Context, keyID string, question []byte) ([]byte, error)

	// AskHost carries what is written here about the status of a pod to the pod's node, to its Observe, and brings the answer back; nil: it
	// is written here, and the newest word of two nodes stands. Called per request, for at most 3 s.
	AskHost func(ctx context.Context, node string, question []byte) ([]byte, error)

	// Lasting counts the logs, execs, attaches, port-forwards, proxied streams and watches of strangers that run through here; they
	// outlive Run where the process does. Optional.
	Lasting *lasting.Crowd
	// Spare is asked when Run is to end whether the process lives on with them. Watches then go on as they are until Outlive, or Dismiss. Nil:
	// it does not, and watches end.
	Spare func() bool

	Log *slog.Logger
}

func (c *Config) complete() error {
	if c.Listen == "" {
		c.Listen = ":6443"
	}
	if !c.Services.IsValid() {
		c.Services = netip.MustParsePrefix("10.96.0.0/16")
	}
	if c.NodePorts.Size == 0 {
		c.NodePorts = utilnet.PortRange{Base: 30000, Size: 2768}
	}
	if c.Domain == "" {
		c.Domain = "cluster.local"
	}
	if c.Lasting == nil {
		c.Lasting = &lasting.Crowd{}
	}
	if c.Spare == nil {
		c.Spare = func() bool { return false }
	}
	if c.Open == nil {
		c.Open = new(net.ListenConfig).Listen
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Mine == nil {
		c.Mine = func(string, string, string) bool { return true }
	}
	if c.Sure == nil {
		c.Sure = func() bool { return true }
	}
	if c.TokenKeys == nil {
		c.TokenKeys = func() map[string]crypto.PublicKey { return nil }
	}
	var errs []error
	for field, missing := range map[string]bool{
		"Store": c.Store == nil, "Node": c.Node == "", "Advertise": !c.Advertise.IsValid(), "Live": c.Live == nil,
		"Hosts": c.Hosts == nil, "TokenKey": c.TokenKey == nil,
	} {
		if missing {
			errs = append(errs, fmt.Errorf("%s is not set", field))
		}
	}
	if !c.Services.Addr().Is4() || c.Services.Bits() > 24 {
		errs = append(errs, fmt.Errorf("the Services network %s is not usable: give an IPv4 network of /24 or larger", c.Services))
	}
	return errors.Join(errs...)
}

// apiAddr is the address of the Service "kubernetes".
func (c *Config) apiAddr() netip.Addr { return c.Services.Masked().Addr().Next() }
