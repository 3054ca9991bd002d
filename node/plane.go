package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/ingress"
	"github.com/orpheus-mesh/orpheus/netmesh"
	"github.com/orpheus-mesh/orpheus/netmesh/dns"
	"github.com/orpheus-mesh/orpheus/netmesh/linux"
	"github.com/orpheus-mesh/orpheus/node/traffic"
)

// network is this server's part of the pod network and its front doors.
type network struct {
	plane *linux.Plane
	names *dns.Server
	proxy *ingress.Proxy

	mu       sync.Mutex // guards all below
	picture  netmesh.Picture
	complete bool // services are known: an incomplete picture would withdraw them from the kernel
	will     will // for the next image
}

func (s *server) newNetwork() (*network, error) {
	plane, err := linux.New(linux.Config{Log: s.log.With("room", "netmesh"), Uplink: s.addr, Backend: linux.Backend(s.cfg.Backend)})
	if err != nil {
		return nil, fmt.Errorf("make the data plane: %w", err)
	}
	access, err := accessLog(s.cfg.AccessLog)
	if err != nil {
		return nil, err
	}
	return &network{
		plane: plane,
		names: dns.New(dns.Config{Domain: s.cfg.Domain, Sockets: s.next.Sockets, Log: s.log.With("room", "dns")}),
		proxy: ingress.New(ingress.Config{HTTP: s.cfg.HTTP, HTTPS: s.cfg.HTTPS, HTTPSetting: "http-listen", HTTPSSetting: "https-listen",
			Log: s.log.With("room", "ingress"), AccessLog: access, Listen: s.next.listen}),
	}, nil
}

func accessLog(path string) (io.Writer, error) {
	switch path {
	case "":
		return nil, nil
	case "-":
		return os.Stdout, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("access-log: %w", err)
	}
	return f, nil
}

// startNetwork runs the data plane, and what feeds it, DNS and ingress.
func (s *server) startNetwork(h *house) error {
	client, err := kubernetes.NewForConfig(s.api.Loopback())
	if err != nil {
		return err
	}
	e := &entrance{client: client, mine: s.sight.mine, sure: s.sure, addresses: s.inService, log: s.log.With("room", "entrance"), wake: make(chan struct{}, 1)}
	t, err := traffic.New(client, s.cfg.Name, traffic.Sinks{Services: s.setServices, Names: s.setNames, Routes: s.setRoutes, Ingresses: e.set}, s.log.With("room", "traffic"))
	if err != nil {
		return err
	}
	h.rooms.open("netmesh", s.net.plane.Run)
	h.rooms.open("servers", s.followServers)
	h.rooms.open("traffic", t.Run)
	h.rooms.open("entrance", e.run)
	return nil
}

// followServers keeps the slot claimed and the routes to all servers in the picture, whenever a card or a member changes.
func (s *server) followServers(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	poke := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.roster.Watch(ctx, poke) })
	members, stop := s.mesh.Watch()
	defer stop()
	g.Go(func() error {
		again := time.NewTimer(serversRetry)
		again.Stop()
		defer again.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-members:
			case <-wake:
			case <-again.C:
			}
			if err := s.drawServers(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("this server's own slot is not in order yet", "error", err)
				again.Reset(serversRetry)
			}
		}
	})
	return g.Wait()
}

// serversRetry is the pause after a card that could not be written or a pod that could not be renumbered.
const serversRetry = 5 * time.Second

// drawServers draws the routes to all servers whatever becomes of this server's own card and pods, which are tried again.
func (s *server) drawServers(ctx context.Context) error {
	err := s.slots.settle(ctx)
	s.drawRoutes()
	if !s.slots.numbered {
		numbering := s.renumber(ctx)
		s.slots.numbered = numbering == nil
		err = errors.Join(err, numbering)
	}
	return err
}

func (s *server) drawRoutes() {
	left := map[gossip.ID]bool{}
	for _, m := range s.mesh.Members() {
		left[m.ID] = m.State == gossip.Left
	}
	pods := netip.MustParsePrefix(s.cfg.PodCIDR)
	holders := netmesh.Holders(s.slots.claims())
	var nodes []netmesh.Node
	for _, c := range s.roster.Cards() {
		n := netmesh.Node{ID: string(c.ID), Name: c.Name, Addr: c.Addr, Gone: left[c.ID]}
		if holders[c.Slot] == string(c.ID) { // the loser of a contested slot gets no traffic until it has another
			n.PodCIDR = netmesh.CIDR(pods, slotBits, c.Slot)
		}
		nodes = append(nodes, n)
	}
	s.net.update(func(p *netmesh.Picture) {
		p.Self = netmesh.Node{ID: string(s.mesh.Self().ID), Name: s.cfg.Name, Addr: s.addr, PodCIDR: netmesh.CIDR(pods, slotBits, s.slots.card.Slot)}
		p.ClusterCIDR, p.ServiceCIDR, p.Nodes = pods, netip.MustParsePrefix(s.cfg.Services), nodes
	})
}

func (n *network) update(change func(*netmesh.Picture)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(&n.picture)
	if n.complete && n.picture.Self.PodCIDR.IsValid() {
		n.plane.Set(n.picture)
	}
}

func (s *server) setServices(ports []netmesh.ServicePort) {
	s.net.mu.Lock()
	s.net.complete = true
	s.net.mu.Unlock()
	s.net.update(func(p *netmesh.Picture) { p.Services = ports })
}

func (s *server) setNames(services []dns.Service) {
	s.net.note(func(w *will) { w.Names = services })
	s.net.names.Set(dns.NewZone(s.cfg.Domain, []netip.Prefix{netip.MustParsePrefix(s.cfg.PodCIDR), netip.MustParsePrefix(s.cfg.Services)}, services))
}

func (s *server) setRoutes(rules []ingress.Rule, certs []ingress.Certificate) {
	s.net.note(func(w *will) { w.Rules, w.Certificates = rules, certs })
	table, errs := ingress.Compile(rules, certs, nil)
	for _, err := range errs {
		s.log.Warn("part of an ingress is not served", "error", err)
	}
	s.net.proxy.Set(table)
}
