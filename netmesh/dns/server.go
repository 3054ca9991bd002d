package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Config of a Server.
type Config struct {
	Listen     netip.AddrPort   // zero: 169.254.1.1:53
	Domain     string           // "": cluster.local; names in it are never asked of others, even before the first Set
	ResolvConf string           // the host's, for its name servers; "": /etc/resolv.conf
	Upstreams  []netip.AddrPort // in place of ResolvConf's
	ZoneWait   time.Duration    // how long a question that may be the mesh's waits for the first Set; 0: 3 s
	Sockets    Sockets          // nil: the host's
	Log        *slog.Logger
}

// Sockets opens what the server listens on, as *net.ListenConfig does, or gives what is open already.
type Sockets interface {
	Listen(ctx context.Context, lc *net.ListenConfig, network, address string) (net.Listener, error)
	ListenPacket(ctx context.Context, lc *net.ListenConfig, network, address string) (net.PacketConn, error)
}

// host opens new ones.
type host struct{}

func (host) Listen(ctx context.Context, lc *net.ListenConfig, network, address string) (net.Listener, error) {
	return lc.Listen(ctx, network, address)
}

func (host) ListenPacket(ctx context.Context, lc *net.ListenConfig, network, address string) (net.PacketConn, error) {
	return lc.ListenPacket(ctx, network, address)
}

// Server answers on one address by UDP and TCP.
type Server struct {
	cfg     Config
	log     *slog.Logger
	zone    atomic.Pointer[Zone]
	first   chan struct{} // closed by the first Set
	once    sync.Once
	forward *forwarder
	cache   *cache
	busy    atomic.Int64
	ready   chan struct{}
	open    sync.Once // closes ready
	fault   atomic.Pointer[error]
	bound   atomic.Pointer[netip.AddrPort]
}

// Default is where pods ask.
var Default = netip.AddrPortFrom(netip.AddrFrom4([4]byte{169, 254, 1, 1}), 53)

// maxBusy bounds the questions that are in work; more are dropped, and their clients ask again.
const maxBusy = 4096

// New makes a server. It starts nothing.
func New(cfg Config) *Server {
	if !cfg.Listen.IsValid() {
		cfg.Listen = Default
	}
	if cfg.Domain == "" {
		cfg.Domain = "cluster.local"
	}
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = "/etc/resolv.conf"
	}
	if cfg.ZoneWait <= 0 {
		cfg.ZoneWait = 3 * time.Second // clients ask again after 5
	}
	if cfg.Sockets == nil {
		cfg.Sockets = host{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Domain = dns.CanonicalName(cfg.Domain)
	return &Server{cfg: cfg, log: cfg.Log, forward: newForwarder(cfg), cache: newCache(),
		first: make(chan struct{}), ready: make(chan struct{})}
}

// Set swaps the zone. Questions in work finish with the old one.
func (s *Server) Set(z *Zone) {
	s.zone.Store(z)
	s.once.Do(func() { close(s.first) })
}

// Ready is closed once the server answers.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr is where the server answers, once it is ready: of use when Listen left the port open.
func (s *Server) Addr() netip.AddrPort {
	if a := s.bound.Load(); a != nil {
		return *a
	}
	return s.cfg.Listen
}

// Status says why the server does not answer at the moment; nil when it does, or has not been run.
func (s *Server) Status() error {
	if err := s.fault.Load(); err != nil {
		return *err
	}
	return nil
}

// Run answers until ctx ends. An address that can't be had is tried again and again (see Status): a host without names still runs
// pods. The host may be given the address later: the sockets are bound regardless.
func (s *Server) Run(ctx context.Context) error {
	wait := firstRetry
	for {
		err := s.answer(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if s.report(err) {
			wait = firstRetry
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait/2 + rand.N(wait)):
		}
		wait = min(2*wait, longestRetry)
	}
}

const (
	firstRetry   = 100 * time.Millisecond
	longestRetry = 10 * time.Second // both half as long to half as long again
)

// report keeps the error for Status, logs it when it is news, and says whether it is.
func (s *Server) report(err error) (news bool) {
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w: a name server that listens on all addresses of this host must leave this one out", err)
	}
	old := s.Status()
	s.fault.Store(&err)
	if news = old == nil || old.Error() != err.Error(); news {
		s.log.Warn("names are not answered, trying on", "err", err)
	}
	return news
}

// answer listens and answers until it fails or ctx ends.
func (s *Server) answer(ctx context.Context) error {
	lc := &net.ListenConfig{Control: early}
	udp, err := s.cfg.Sockets.ListenPacket(ctx, lc, "udp4", s.cfg.Listen.String())
	if err != nil {
		return fmt.Errorf("answer names on %s: %w", s.cfg.Listen, err)
	}
	defer udp.Close()
	bound := udp.LocalAddr().(*net.UDPAddr).AddrPort()
	tcp, err := s.cfg.Sockets.Listen(ctx, lc, "tcp4", bound.String())
	if err != nil {
		return fmt.Errorf("answer names on %s: %w", bound, err)
	}
	defer tcp.Close()
	s.bound.Store(&bound)

	g, ctx := errgroup.WithContext(ctx)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) { s.serve(ctx, w, m) })
	started := make(chan struct{}, 2)
	note := func() { started <- struct{}{} }
	servers := []*dns.Server{
		{PacketConn: udp, Handler: handler, UDPSize: 4096, NotifyStartedFunc: note},
		{Listener: tcp, Handler: handler, ReadTimeout: askTimeout, WriteTimeout: askTimeout, MaxTCPQueries: 128, NotifyStartedFunc: note,
			IdleTimeout: func() time.Duration { return 8 * time.Second }},
	}
	for _, server := range servers {
		g.Go(server.ActivateAndServe)
	}
	g.Go(func() error {
		for range servers {
			select {
			case <-started:
			case <-ctx.Done():
				return nil
			}
		}
		if s.fault.Swap(nil) != nil {
			s.log.Info("names are answered now", "addr", bound)
		}
		s.open.Do(func() { close(s.ready) })
		s.log.Debug("answering names", "addr", bound)
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		for _, server := range servers {
			_ = server.ShutdownContext(late)
		}
		return errors.Join(udp.Close(), tcp.Close()) // ends also one that had not started yet
	})
	return fmt.Errorf("answer names on %s: %w", bound, g.Wait())
}

// waiting is the bytes of questions that may wait in the kernel: some thousand, while the daemon restarts.
const waiting = 2 << 20

// early lets a socket be bound before the host has the address, and beside that of a former process which is ending.
func early(_, _ string, c syscall.RawConn) error {
	var err error
	ctl := c.Control(func(fd uintptr) {
		err = errors.Join(
			unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, waiting) // less holds less
	})
	return errors.Join(ctl, err)
}

func (s *Server) serve(ctx context.Context, w dns.ResponseWriter, m *dns.Msg) {
	if s.busy.Add(1) > maxBusy {
		s.busy.Add(-1)
		return
	}
	defer s.busy.Add(-1)
	network := w.LocalAddr().Network()
	reply := s.reply(ctx, m, network)
	fit(reply, m, network)
	if err := w.WriteMsg(reply); err != nil {
		s.log.Debug("can't send an answer", "to", w.RemoteAddr(), "err", err)
	}
}

func (s *Server) reply(ctx context.Context, m *dns.Msg, network string) *dns.Msg {
	reply := new(dns.Msg).SetReply(m)
	reply.RecursionAvailable = true
	if m.Opcode != dns.OpcodeQuery || len(m.Question) != 1 || m.Question[0].Qclass != dns.ClassINET {
		return reply.SetRcode(m, dns.RcodeNotImplemented)
	}
	name := dns.CanonicalName(m.Question[0].Name)
	z := s.zoneFor(ctx, name)
	if z == nil && dns.IsSubDomain(s.cfg.Domain, name) {
		return reply.SetRcode(m, dns.RcodeServerFailure) // nothing is known yet: that is not "no such name"
	}
	if z == nil || !z.owns(name) {
		return s.elsewhere(ctx, m, network)
	}
	if foreign := z.answer(reply, m.Question[0]); foreign != "" {
		s.followAlias(ctx, reply, m, foreign, network)
	}
	return reply
}

// zoneFor is the present zone. Before the first one, a question that may be the mesh's waits for it: a daemon that has just
// begun need not fail the lookups of pods that have run all along.
func (s *Server) zoneFor(ctx context.Context, name string) *Zone {
	if z := s.zone.Load(); z != nil || !dns.IsSubDomain(s.cfg.Domain, name) && !dns.IsSubDomain("in-addr.arpa.", name) {
		return z
	}
	t := time.NewTimer(s.cfg.ZoneWait)
	defer t.Stop()
	select {
	case <-s.first:
	case <-t.C:
	case <-ctx.Done():
	}
	return s.zone.Load()
}

// elsewhere passes a question on, unless its answer is remembered.
func (s *Server) elsewhere(ctx context.Context, m *dns.Msg, network string) *dns.Msg {
	key := keyOf(m)
	found := s.cache.get(key)
	if found == nil {
		var err error
		if found, err = s.forward.ask(ctx, m, network); err != nil {
			s.log.Debug("no answer from upstream name servers", "name", m.Question[0].Name, "err", err)
			return new(dns.Msg).SetRcode(m, dns.RcodeServerFailure)
		}
		s.cache.put(key, found)
	}
	found.Id = m.Id
	found.Question = m.Question
	return found
}

// followAlias adds what an ExternalName leads to.
func (s *Server) followAlias(ctx context.Context, reply, m *dns.Msg, foreign, network string) {
	onward := m.Copy()
	onward.Question[0].Name = foreign
	onward.RecursionDesired = true
	found := s.elsewhere(ctx, onward, network)
	reply.Rcode = found.Rcode
	reply.Answer = append(reply.Answer, found.Answer...)
	reply.Ns = found.Ns
}

// fit makes the reply as small as the client can take; a truncated one tells it to come back by TCP.
func fit(reply, m *dns.Msg, network string) {
	size := dns.MaxMsgSize
	opt := m.IsEdns0()
	if network == "udp" {
		size = dns.MinMsgSize
		if opt != nil {
			size = min(max(size, int(opt.UDPSize())), 4096)
		}
	}
	if opt != nil && reply.IsEdns0() == nil {
		reply.SetEdns0(1232, opt.Do())
	}
	reply.Compress = true
	reply.Truncate(size)
}
