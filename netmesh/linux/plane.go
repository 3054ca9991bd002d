package linux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/orpheus-mesh/orpheus/netmesh"
)

// Backend is how packets for pods reach other hosts.
type Backend string

const (
	Auto        Backend = "auto"    // directly to hosts on the same link, else by VXLAN
	HostGateway Backend = "host-gw" // directly only; hosts behind a router are not reached
	VXLAN       Backend = "vxlan"   // always by VXLAN: for networks that drop addresses they do not know
)

// Config of a Plane. The zero value is of use.
type Config struct {
	Log     *slog.Logger
	Uplink  netip.Addr // the host's address that the other hosts know; zero: that of the default route
	Backend Backend    // "": Auto
	MTU     int        // of pods, in bytes; 0: what fits through the uplink and, but for HostGateway, the tunnel
	NetNS   string     // path of the host's network namespace; "": the process's own
}

func (c Config) validate() error {
	switch c.Backend {
	case Auto, HostGateway, VXLAN:
	default:
		return fmt.Errorf("backend %q: want auto, host-gw or vxlan", c.Backend)
	}
	if c.Uplink.IsValid() && !c.Uplink.Is4() {
		return fmt.Errorf("uplink %s: want an IPv4 address", c.Uplink)
	}
	if c.MTU != 0 && (c.MTU < 576 || c.MTU > 65535) {
		return fmt.Errorf("MTU %d: want 576 to 65535", c.MTU)
	}
	return nil
}

// Plane is the data plane of one host. Set, Attach, Detach, Attached and Status may be called by many goroutines, at any
// time; what Set asks for is done while Run runs.
type Plane struct {
	cfg   Config
	log   *slog.Logger
	ns    netns.NsHandle
	route *netlink.Handle
	flows *netlink.Handle
	table *table // Run's alone
	wake  chan struct{}
	links chan struct{} // links, addresses or routes changed
	count counters

	routed    *routeInputs // Run's alone: what the routes were last made for
	attaching sync.Mutex   // one Attach or Detach at a time

	mu       sync.Mutex // guards all below
	picture  *netmesh.Picture
	pods     map[string]netmesh.LocalPod // by UID
	failure  error
	warnings map[topic][]string
}

// topic parts the warnings by the step that finds them.
type topic string

const (
	ofRoutes  topic = "routes"
	ofRules   topic = "rules"
	ofForward topic = "forward"
)

// routeInputs is the part of the Picture that routes depend on.
type routeInputs struct {
	self             netmesh.Node
	nodes            []netmesh.Node
	cluster, service netip.Prefix
	pods             []netip.Addr
}

func inputsOf(pic netmesh.Picture) *routeInputs {
	in := &routeInputs{self: pic.Self, nodes: slices.Clone(pic.Nodes), cluster: pic.ClusterCIDR, service: pic.ServiceCIDR}
	for _, pod := range pic.Pods {
		in.pods = append(in.pods, pod.Addr)
	}
	return in
}

func (a *routeInputs) equal(b *routeInputs) bool {
	return a != nil && a.self == b.self && a.cluster == b.cluster && a.service == b.service && slices.Equal(a.nodes, b.nodes) && slices.Equal(a.pods, b.pods)
}

type counters struct{ applied, repairs, rebuilds, comparisons atomic.Uint64 }

// Counters tell what a Plane has done since New.
type Counters struct {
	Applied     uint64 // Pictures carried out
	Repairs     uint64 // devices, routes and neighbours made or changed
	Rebuilds    uint64 // times that the whole service table was made anew
	Comparisons uint64 // times that it was read from the kernel and compared
}

// New opens the host's network namespace and learns which pods are attached there. It starts nothing and changes nothing.
// Whoever does not call Run must call Close.
func New(cfg Config) (*Plane, error) {
	if cfg.Backend == "" {
		cfg.Backend = Auto
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	ns, err := openNamespace(cfg.NetNS)
	if err != nil {
		return nil, err
	}
	p := &Plane{cfg: cfg, log: cfg.Log, ns: ns, pods: map[string]netmesh.LocalPod{}, warnings: map[topic][]string{}, table: newTable(int(ns)),
		wake: make(chan struct{}, 1), links: make(chan struct{}, 1)}
	p.route, err = netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err == nil {
		p.flows, err = netlink.NewHandleAt(ns, unix.NETLINK_NETFILTER)
	}
	if err == nil {
		err = p.adopt()
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("open the data plane: %w", err)
	}
	return p, nil
}

func openNamespace(path string) (netns.NsHandle, error) {
	if path == "" {
		path = "/proc/self/ns/net"
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return ns, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	return ns, nil
}

// Close lets go of the kernel's handles. Everything that was made stays.
func (p *Plane) Close() {
	if p.route != nil {
		p.route.Close()
	}
	if p.flows != nil {
		p.flows.Close()
	}
	p.table.close()
	p.ns.Close()
}

// Set says what the data plane shall be like. It never blocks; only the last Picture counts.
func (p *Plane) Set(pic netmesh.Picture) {
	p.mu.Lock()
	p.picture = &pic
	p.mu.Unlock()
	p.wakeUp()
}

func (p *Plane) wakeUp() { poke(p.wake) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Rhythms of the loop.
const (
	lookEvery   = 500 * time.Millisecond // at nftables' generation number, which costs microseconds
	auditEvery  = 30 * time.Second       // at all routes, should an event have been lost
	settle      = 20 * time.Millisecond  // events come in swarms
	retryFirst  = 250 * time.Millisecond
	retryAtMost = 5 * time.Second
)

// Run keeps the kernel as the last Picture wants it until ctx ends, and leaves it so.
func (p *Plane) Run(ctx context.Context) error {
	defer p.Close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for { // the socket is opened anew should it fail
			err := watch(ctx, int(p.ns), func() { poke(p.links) })
			if err == nil || ctx.Err() != nil {
				return nil
			}
			p.log.Warn("can't watch the routes of this host, trying again", "err", err)
			poke(p.links)
			if !pause(ctx, retryFirst) {
				return nil
			}
		}
	})
	g.Go(func() error { p.loop(ctx); return nil })
	return g.Wait()
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// loop is the one writer of routes and rules. Every reason to look leads to the same two idempotent steps.
func (p *Plane) loop(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	audit := time.NewTicker(auditEvery)
	defer look.Stop()
	defer audit.Stop()
	retry := retryFirst
	var again <-chan time.Time
	for {
		todo := step{routes: true, rules: true}
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
			todo.unchangedRoutesStand = true
		case <-again:
		case <-audit.C:
			todo.rules = false
		case <-p.links:
			if !pause(ctx, settle) {
				return
			}
			select { // the swarm has been seen
			case <-p.links:
			default:
			}
			todo.rules = false
		case <-look.C:
			if moved, err := p.table.moved(); err == nil && !moved {
				continue
			}
			todo.routes = false
		}
		again = nil
		if err := p.apply(todo); err != nil {
			again = time.After(retry)
			retry = min(2*retry, retryAtMost)
		} else {
			retry = retryFirst
		}
	}
}

// step is what one turn of the loop looks at.
type step struct {
	routes, rules        bool
	unchangedRoutesStand bool // routes only if what they depend on has changed
}

// apply carries the last Picture out and remembers for Status what went wrong.
func (p *Plane) apply(todo step) error {
	p.mu.Lock()
	pic := p.picture
	before := p.failure
	p.mu.Unlock()
	if pic == nil {
		return nil
	}
	err := p.carryOut(*pic, todo)
	p.mu.Lock()
	p.failure = err
	p.mu.Unlock()
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		p.log.Warn("the data plane is not as it should be, trying again", "err", err)
	case err == nil && before != nil:
		p.log.Info("the data plane is well again")
	}
	p.count.rebuilds.Store(uint64(p.table.rebuilt))
	p.count.comparisons.Store(uint64(p.table.reconciled))
	return err
}

func (p *Plane) carryOut(pic netmesh.Picture, todo step) error {
	if err := pic.Validate(); err != nil {
		return err
	}
	pic.Pods = p.Attached()
	var errs []error
	if in := inputsOf(pic); todo.routes && !(todo.unchangedRoutesStand && p.routed.equal(in)) {
		p.routed = in
		if err := p.ensureRoutes(pic); err != nil {
			p.routed = nil
			errs = append(errs, err)
		}
	}
	if todo.rules {
		if err := p.ensureRules(pic); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (p *Plane) ensureRules(pic netmesh.Picture) error {
	program := netmesh.Compile(pic)
	p.warn(ofRules, program.Conflicts)
	looked := p.table.reconciled
	gone, err := p.table.set(pic, program)
	if err != nil {
		return err
	}
	p.forget(gone)
	p.count.applied.Add(1) // not sooner: a Picture is carried out when the memory of what it withdrew is gone as well
	if looked == p.table.reconciled {
		return nil
	}
	return p.checkForward() // the rules of others have changed
}

// warn replaces the warnings of a topic.
func (p *Plane) warn(of topic, texts []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.warnings[of] = texts
}

// Counters tell what has been done since New.
func (p *Plane) Counters() Counters {
	return Counters{p.count.applied.Load(), p.count.repairs.Load(), p.count.rebuilds.Load(), p.count.comparisons.Load()}
}

// Status is nil when the kernel is as the last Picture wants it; else what is wrong and the mend.
func (p *Plane) Status() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	errs := []error{p.failure}
	for _, w := range slices.Concat(p.warnings[ofRoutes], p.warnings[ofRules], p.warnings[ofForward]) {
		errs = append(errs, errors.New(w))
	}
	return errors.Join(errs...)
}
