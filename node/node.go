package node

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/netmesh"
	"github.com/orpheus-mesh/orpheus/node/absence"
	"github.com/orpheus-mesh/orpheus/node/agent"
	"github.com/orpheus-mesh/orpheus/node/api"
	"github.com/orpheus-mesh/orpheus/node/api/replica"
	"github.com/orpheus-mesh/orpheus/node/binder"
	"github.com/orpheus-mesh/orpheus/node/control"
	"github.com/orpheus-mesh/orpheus/node/controllers"
	"github.com/orpheus-mesh/orpheus/node/docker"
	"github.com/orpheus-mesh/orpheus/node/images"
	"github.com/orpheus-mesh/orpheus/node/lasting"
	"github.com/orpheus-mesh/orpheus/node/roster"
)

// server is one running daemon: its rooms, and what is told of them.
type server struct {
	cfg     Config
	log     *slog.Logger
	started time.Time
	ready   atomic.Bool
	addr    netip.Addr

	mesh    *gossip.Mesh
	roster  *roster.Roster
	sight   sight
	engine  *docker.Engine
	depot   *images.Depot
	api     *api.Server
	admin   *kubernetes.Clientset // writes that a person asked for through this server
	keyring *keyring
	slots   *registrar
	net     *network
	pods    *podNet
	agent   *agent.Agent
	next    *successor
	absence *absence.Record
	binder  *binder.Binder // there once ready
	claims  *claims        // like it
	lasting lasting.Crowd  // logs, exec and the like, through the API and of the pods here

	recorder record.EventRecorder // of events about servers and objects; there while absences are remembered
}

// Run makes this server a member of its mesh (a new one, or the token's, on the first call) and serves until ctx ends.
// What runs on the server outlives it. ErrSucceeded says that the caller is to become the next image or, where something is left,
// to start it as a process beside this one.
func Run(ctx context.Context, cfg Config, token string, after Succession, log *slog.Logger) (left *Left, err error) {
	unlock, err := lockDir(ctx, cfg.DataDir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := enter(ctx, cfg, token, log); err != nil {
		return nil, err
	}
	s, err := build(cfg, newSuccessor(after), log)
	if err != nil {
		return nil, err
	}
	containExits()
	controllers.Quiet()
	s.retain()
	log.Info("orpheus starts", "node", cfg.Name, "version", Version(), "address", s.addr, "resumed_sockets", s.next.Sockets.Len())
	err = s.run(ctx)
	if errors.Is(err, ErrSucceeded) {
		s.bequeath()
		return s.next.left, err
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return nil, err
	}
	log.Info("orpheus stopped; pods, routes and service rules stay as they are")
	return nil, nil
}

// containExits turns upstream's exits of the whole process (a controller that can't be built) into panics, which the
// controllers' own watchdog contains.
func containExits() {
	klog.OsExit = func(code int) { panic(fmt.Sprintf("upstream wanted to end the process with code %d", code)) }
}

func meshConfig(cfg Config, log *slog.Logger) (gossip.Config, error) {
	addr, err := cfg.advertised()
	if err != nil {
		return gossip.Config{}, err
	}
	return gossip.Config{
		Dir: meshDir(cfg), Name: cfg.Name, Listen: netip.MustParseAddrPort(cfg.Listen), Advertise: addr,
		Region: cfg.Region, Zone: cfg.Zone, MDNS: cfg.MDNS, Store: store.Config{Class: api.Class}, Log: log.With("room", "gossip"),
	}, nil
}

// enter makes the first server of a mesh or joins one, where this server belongs to none yet.
func enter(ctx context.Context, cfg Config, token string, log *slog.Logger) error {
	mc, err := meshConfig(cfg, log)
	if err != nil {
		return err
	}
	switch {
	case gossip.Initialised(mc.Dir):
		if token != "" {
			log.Info("this server belongs to a mesh already: the token was not used")
		}
		return nil
	case token != "":
		return gossip.Join(ctx, mc, token)
	}
	log.Info("this server makes a new mesh; let others join with `orpheus token create` and `orpheus up --join TOKEN`")
	return gossip.Create(mc)
}

func build(cfg Config, next *successor, log *slog.Logger) (*server, error) {
	mc, err := meshConfig(cfg, log)
	if err != nil {
		return nil, err
	}
	s := &server{cfg: cfg, log: log, started: time.Now(), addr: mc.Advertise, next: next}
	if s.mesh, err = gossip.Open(mc); err != nil {
		return nil, err
	}
	s.roster = roster.New(s.mesh.Store())
	if err := keepsName(s.roster, s.mesh.Self().ID, cfg.Name); err != nil {
		return nil, err
	}
	s.sight = sight{s.mesh, s.roster}
	s.absence = s.newAbsence()
	if s.engine, err = docker.New(cfg.Docker); err != nil {
		return nil, err
	}
	s.depot = images.New(s.engine.Client(), s.mesh, s.mesh.Store(), log.With("room", "images"))
	key, err := api.LoadTokenKey(filepath.Join(cfg.DataDir, "token.key"))
	if err != nil {
		return nil, err
	}
	if s.slots, err = s.newRegistrar(key.Public()); err != nil {
		return nil, err
	}
	changed, _ := s.mesh.Watch()
	s.api, err = api.New(api.Config{
		Store: replica.Over(s.mesh.Store()), Keys: s.mesh.Keys(), Node: cfg.Name, Advertise: s.addr, Listen: cfg.API, Open: s.next.listen,
		Services: netip.MustParsePrefix(cfg.Services), Domain: cfg.Domain, Live: s.sight, Changed: changed, Mine: s.sight.mine, Sure: s.sure,
		Hosts: s.streamingOf, TokenKey: key, TokenKeys: s.tokenKeys, AskIssuer: s.askIssuer, AskHost: s.askHost, Lasting: &s.lasting, Spare: s.spares, Log: log.With("room", "api"),
	})
	if err != nil {
		return nil, err
	}
	s.serveTokens()
	s.serveObservations()
	person := rest.CopyConfig(s.api.Loopback())
	person.Impersonate = rest.ImpersonationConfig{UserName: "orpheus-admin", Groups: []string{"system:masters"}}
	if s.admin, err = kubernetes.NewForConfig(person); err != nil {
		return nil, err
	}
	if s.keyring, err = openKeyring(s.mesh, cfg.DataDir, s.api.SetSecretKeys, log.With("room", "keyring")); err != nil {
		return nil, err
	}
	if s.net, err = s.newNetwork(); err != nil {
		return nil, err
	}
	s.pods = &podNet{plane: s.net.plane}
	return s, nil
}

// keepsName refuses a server that is called otherwise than its peers know it: its pods would be another node's, and be ended here, while a
// node of the new name came that no server is ever found dead behind.
func keepsName(known *roster.Roster, self gossip.ID, name string) error {
	if card, ok := known.ByID(self); ok && card.Name != name {
		return fmt.Errorf("name: this server is node %q of its mesh and can't become %q: set name to %q, or join anew with an empty data-dir", card.Name, name, card.Name)
	}
	return nil
}

// newRegistrar begins this server's card.
func (s *server) newRegistrar(tokenKey crypto.PublicKey) (*registrar, error) {
	id, err := api.KeyID(tokenKey)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(tokenKey)
	if err != nil {
		return nil, err
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return &registrar{roster: s.roster, pods: netip.MustParsePrefix(s.cfg.PodCIDR), log: s.log, card: roster.Card{
		ID: s.mesh.Self().ID, Name: s.cfg.Name, Addr: s.addr, Region: s.cfg.Region, Zone: s.cfg.Zone,
		APIPort: netip.MustParseAddrPort(s.cfg.API).Port(), StreamPort: netip.MustParseAddrPort(s.cfg.Streaming).Port(),
		TokenKeys: map[string][]byte{id: public}, Version: Version(),
	}}, nil
}

// streamingOf finds where logs and exec of a node are served.
func (s *server) streamingOf(node string) (netip.AddrPort, error) {
	card, ok := s.roster.ByName(node)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("no server of the mesh is called %s", node)
	}
	return netip.AddrPortFrom(card.Addr, card.StreamPort), nil
}

// tokenKeys are the public keys of all servers that sign ServiceAccount tokens.
func (s *server) tokenKeys() map[string]crypto.PublicKey {
	out := map[string]crypto.PublicKey{}
	for _, c := range s.roster.Cards() {
		for id, text := range c.TokenKeys {
			block, _ := pem.Decode(text)
			if block == nil {
				continue
			}
			if key, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
				out[id] = key
			}
		}
	}
	return out
}

func (s *server) apiURL() string {
	return "https://" + netip.AddrPortFrom(s.addr, netip.MustParseAddrPort(s.cfg.API).Port()).String()
}

// run starts the rooms from the ground up, and when ctx ends or one of them fails ends them from the doors down.
func (s *server) run(ctx context.Context) error {
	h := newHouse(ctx, s.log)
	s.recall()
	h.names.open("dns", s.net.names.Run)
	h.doors.open("ingress", s.ingress)
	h.ground.open("mesh", s.mesh.Run)
	h.rooms.open("control", func(ctx context.Context) error {
		return control.Serve(ctx, Socket(s.cfg.RunDir), s, s.log.With("room", "control"))
	})
	h.rooms.Go(s.succeed)
	h.rooms.Go(func(ctx context.Context) error {
		if !reached(ctx, s.mesh.Ready()) {
			return nil
		}
		if err := s.upstairs(ctx, h); ctx.Err() == nil {
			return err
		}
		return nil
	})
	err := h.empty()
	s.carry(h.haunted)
	return err
}

// stands tells that a room which does not end stands in the way of a next image beside this one. Most hold a port, or act on the host.
// The controllers only write, through an API and a store that are closed by then.
func stands(room string) bool { return room != "controllers" }

// upstairs starts what needs the replica. One that takes no writes at the moment (a full disk, a clock that is off) is read
// all the same: what could not be written is tried again later, here or on another server.
func (s *server) upstairs(ctx context.Context, h *house) error {
	if err := s.slots.settle(ctx); errors.Is(err, store.ErrReadOnly) {
		s.log.Warn("this server's card is not written yet", "error", err)
	} else if err != nil {
		return err
	}
	if err := s.pods.move(netmesh.CIDR(netip.MustParsePrefix(s.cfg.PodCIDR), slotBits, s.slots.card.Slot)); err != nil {
		return err
	}
	h.rooms.open("keyring", s.keyring.run)
	h.rooms.open("api", s.api.Run)
	if !reached(ctx, s.api.Ready()) {
		return nil
	}
	if err := s.keepKubeconfig(); err != nil {
		return err
	}
	if err := furnish(ctx, s.admin); apierrors.IsServiceUnavailable(err) {
		s.log.Warn("the objects that every mesh has are not looked after", "error", err)
	} else if err != nil {
		return err
	}
	return s.rooms(ctx, h)
}

func reached(ctx context.Context, c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}

// keepKubeconfig leaves root on this server a cluster-admin kubeconfig, as operators expect of a good daemon.
func (s *server) keepKubeconfig() error {
	b, err := s.api.Kubeconfig("orpheus-admin", []string{"system:masters"}, s.apiURL())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.cfg.RunDir, 0o700); err != nil {
		return fmt.Errorf("keep the kubeconfig: %w", err)
	}
	if err := writeFile(Kubeconfig(s.cfg.RunDir), b); err != nil {
		return fmt.Errorf("keep the kubeconfig: %w", err)
	}
	return nil
}
