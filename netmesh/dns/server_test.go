package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

// start runs a server on a port of the kernel's choice for UDP, which somebody's TCP connection may hold: then it tries another.
func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	cfg.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	s := run(t, cfg)
	<-s.Ready()
	return s
}

// run runs a server until the test ends.
func run(t *testing.T, cfg Config) *Server {
	t.Helper()
	s := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// taken are the host's sockets as long as somebody else has the address.
type taken struct {
	host
	free  atomic.Bool
	tried chan struct{}
}

func (h *taken) ListenPacket(ctx context.Context, lc *net.ListenConfig, network, address string) (net.PacketConn, error) {
	if h.free.Load() {
		return h.host.ListenPacket(ctx, lc, network, address)
	}
	select {
	case h.tried <- struct{}{}:
	case <-ctx.Done():
	}
	return nil, os.NewSyscallError("bind", syscall.EADDRINUSE)
}

func TestATakenAddressIsTriedUntilItIsFree(t *testing.T) {
	sockets := &taken{tried: make(chan struct{})}
	s := run(t, Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Sockets: sockets})
	for range 3 {
		<-sockets.tried
	}
	if err := s.Status(); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "must leave this one out") {
		t.Errorf("status: %v", err)
	}
	select {
	case <-s.Ready():
		t.Error("ready without an address")
	default:
	}
	sockets.free.Store(true)
	select { // one more attempt may be on its way
	case <-sockets.tried:
	case <-s.Ready():
	}
	<-s.Ready()
	if err := s.Status(); err != nil {
		t.Errorf("status: %v", err)
	}
}

func question(t *testing.T, s *Server, network, name string, qtype uint16, size uint16) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, qtype)
	if size > 0 {
		m.SetEdns0(size, false)
	}
	reply, _, err := (&dns.Client{Net: network, Timeout: 6 * time.Second, UDPSize: 4096}).Exchange(m, s.Addr().String())
	if err != nil {
		t.Fatalf("%s by %s: %v", name, network, err)
	}
	return reply
}

// world is an upstream name server.
func world(t *testing.T, answer func(m *dns.Msg) *dns.Msg) (netip.AddrPort, *atomic.Int64) {
	t.Helper()
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	up := make(chan struct{})
	srv := &dns.Server{PacketConn: pc, NotifyStartedFunc: func() { close(up) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		asked.Add(1)
		if r := answer(m); r != nil {
			_ = w.WriteMsg(r)
		}
	})}
	done := make(chan error, 1)
	go func() { done <- srv.ActivateAndServe() }()
	<-up
	t.Cleanup(func() { _ = srv.Shutdown(); <-done })
	return pc.LocalAddr().(*net.UDPAddr).AddrPort(), &asked
}

func says(ip string) func(*dns.Msg) *dns.Msg {
	return func(m *dns.Msg) *dns.Msg {
		r := new(dns.Msg).SetReply(m)
		rr, _ := dns.NewRR(fmt.Sprintf("%s 30 IN A %s", m.Question[0].Name, ip))
		r.Answer = []dns.RR{rr}
		return r
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServerAnswersByUDPAndTCP(t *testing.T) {
	s := start(t, Config{Upstreams: []netip.AddrPort{}, ZoneWait: time.Millisecond})
	if r := question(t, s, "udp", "cart.shop.svc.cluster.local.", dns.TypeA, 0); r.Rcode != dns.RcodeServerFailure {
		t.Errorf("before the first zone: %s, want SERVFAIL and not a lie", dns.RcodeToString[r.Rcode])
	}
	s.Set(sampleZone())
	for _, network := range []string{"udp", "tcp"} {
		if got := text(question(t, s, network, "cart.shop.svc.cluster.local.", dns.TypeA, 0)); got != "NOERROR A 10.96.3.4" {
			t.Errorf("by %s: %s", network, got)
		}
	}
	s.Set(NewZone("cluster.local", nil, nil))
	if got := text(question(t, s, "udp", "cart.shop.svc.cluster.local.", dns.TypeA, 0)); got != "NXDOMAIN " {
		t.Errorf("after the service was removed: %s", got)
	}
}

func TestQuestionsWaitForTheFirstZone(t *testing.T) {
	up, _ := world(t, says("192.0.2.7"))
	s := start(t, Config{Upstreams: []netip.AddrPort{up}, ZoneWait: time.Hour})
	answers := make(chan string, 2)
	for _, name := range []string{"cart.shop.svc.cluster.local.", "www.example.com."} {
		go func() {
			m := new(dns.Msg).SetQuestion(name, dns.TypeA)
			r, _, err := (&dns.Client{Timeout: 6 * time.Second}).Exchange(m, s.Addr().String())
			if err != nil {
				answers <- err.Error()
				return
			}
			answers <- text(r)
		}()
	}
	if got := <-answers; got != "NOERROR A 192.0.2.7" {
		t.Errorf("first of all a foreign name should be answered, got %s", got)
	}
	s.Set(sampleZone())
	if got := <-answers; got != "NOERROR A 10.96.3.4" {
		t.Errorf("after the first zone: %s", got)
	}
}

// held gives the same sockets again and again, as the daemon's next image gets those of its last.
type held struct {
	udp net.PacketConn
	tcp net.Listener
}

func (h held) Listen(context.Context, *net.ListenConfig, string, string) (net.Listener, error) {
	f, err := h.tcp.(*net.TCPListener).File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
}

func (h held) ListenPacket(context.Context, *net.ListenConfig, string, string) (net.PacketConn, error) {
	f, err := h.udp.(*net.UDPConn).File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FilePacketConn(f)
}

func TestQuestionsWaitForTheNextServer(t *testing.T) {
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := net.Listen("tcp4", udp.LocalAddr().String())
	if err != nil {
		t.Skip(err) // somebody else has that port
	}
	defer tcp.Close()
	for range 3 {
		answers := make(chan string, 2)
		for _, network := range []string{"udp", "tcp"} { // nobody answers yet
			c, err := net.Dial(network, udp.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			conn := &dns.Conn{Conn: c}
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			if err := conn.WriteMsg(new(dns.Msg).SetQuestion("cart.shop.svc.cluster.local.", dns.TypeA)); err != nil {
				t.Fatal(err)
			}
			go func() {
				r, err := conn.ReadMsg()
				if err != nil {
					answers <- err.Error()
					return
				}
				answers <- text(r)
			}()
		}
		s := New(Config{Listen: netip.MustParseAddrPort(udp.LocalAddr().String()), Sockets: held{udp, tcp}})
		s.Set(sampleZone())
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		for range 2 {
			if got := <-answers; got != "NOERROR A 10.96.3.4" {
				t.Errorf("a question that waited: %s", got)
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestLargeAnswersAreTruncatedAndWholeByTCP(t *testing.T) {
	var e []Endpoint
	for i := range 300 {
		e = append(e, Endpoint{Addr: netip.AddrFrom4([4]byte{10, 32, byte(i / 200), byte(2 + i%200)})})
	}
	s := start(t, Config{})
	s.Set(NewZone("cluster.local", nil, []Service{{Namespace: "a", Name: "big", Headless: true, Endpoints: e}}))
	small := question(t, s, "udp", "big.a.svc.cluster.local.", dns.TypeA, 0)
	small.Compress = true // as it was on the wire
	if !small.Truncated || small.Len() > 512 {
		t.Errorf("by UDP: truncated %v, %d bytes; want a truncated answer of 512 at most", small.Truncated, small.Len())
	}
	larger := question(t, s, "udp", "big.a.svc.cluster.local.", dns.TypeA, 4096)
	if len(larger.Answer) <= len(small.Answer) {
		t.Errorf("a client that takes 4096 bytes got %d records, one that takes 512 got %d", len(larger.Answer), len(small.Answer))
	}
	if whole := question(t, s, "tcp", "big.a.svc.cluster.local.", dns.TypeA, 0); len(whole.Answer) != 300 || whole.Truncated {
		t.Errorf("by TCP: %d records of 300", len(whole.Answer))
	}
}

func TestForeignNamesGoToTheWorldAndAreRemembered(t *testing.T) {
	up, asked := world(t, says("192.0.2.7"))
	s := start(t, Config{Upstreams: []netip.AddrPort{up}})
	s.Set(sampleZone())
	for range 3 {
		if got := text(question(t, s, "udp", "www.example.com.", dns.TypeA, 0)); got != "NOERROR A 192.0.2.7" {
			t.Fatalf("foreign name: %s", got)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("asked upstream %d times for one name", asked.Load())
	}
	if got := text(question(t, s, "udp", "abroad.shop.svc.cluster.local.", dns.TypeA, 0)); got != "NOERROR A 192.0.2.7, CNAME www.example.org." {
		t.Errorf("ExternalName: %s", got)
	}
}

func TestDeadUpstreamsSlowNobody(t *testing.T) {
	dead, _ := world(t, func(*dns.Msg) *dns.Msg { return nil })
	alive, _ := world(t, says("192.0.2.8"))
	s := start(t, Config{Upstreams: []netip.AddrPort{dead, alive}})
	s.Set(sampleZone())
	waiting := make(chan string, 1)
	go func() {
		m := new(dns.Msg).SetQuestion("one.example.com.", dns.TypeA)
		r, _, err := (&dns.Client{Timeout: 6 * time.Second}).Exchange(m, s.Addr().String())
		if err != nil {
			waiting <- err.Error()
			return
		}
		waiting <- text(r)
	}()
	begin := time.Now()
	for range 20 {
		question(t, s, "udp", "cart.shop.svc.cluster.local.", dns.TypeA, 0)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("20 mesh names took %v beside a dead upstream", took)
	}
	if got := <-waiting; got != "NOERROR A 192.0.2.8" {
		t.Errorf("the second server was not asked: %s", got)
	}
	begin = time.Now()
	question(t, s, "udp", "two.example.com.", dns.TypeA, 0)
	if took := time.Since(begin); took > time.Second {
		t.Errorf("the dead server is still asked first: %v", took)
	}
}

func TestWaitingQuestionsAreBounded(t *testing.T) {
	f := newForwarder(Config{Upstreams: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9")}})
	for range inFlight {
		f.slots <- struct{}{}
	}
	if _, err := f.ask(context.Background(), new(dns.Msg).SetQuestion("x.", dns.TypeA), "udp"); !errors.Is(err, errBusy) {
		t.Errorf("one question more than allowed: %v, want %v", err, errBusy)
	}
}

func TestServersAreReadFromTheHost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(s string, at time.Time) {
		if err := os.WriteFile(path, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Unix(1000, 0)
	write("nameserver 169.254.1.1\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n", now)
	f := newForwarder(Config{ResolvConf: path, Listen: netip.MustParseAddrPort("169.254.1.1:53")})
	f.now = func() time.Time { return now }
	if got := strings.Join(f.order(), " "); got != "192.0.2.1:53 192.0.2.2:53" {
		t.Errorf("servers %q: want the host's without ourselves", got)
	}
	f.shun("192.0.2.1:53", true)
	if got := strings.Join(f.order(), " "); got != "192.0.2.2:53 192.0.2.1:53" {
		t.Errorf("servers %q: want the one that failed last", got)
	}
	write("nameserver 192.0.2.9\n", now.Add(time.Second))
	now = now.Add(rereadEvery)
	if got := strings.Join(f.order(), " "); got != "192.0.2.9:53" {
		t.Errorf("servers %q after the file changed", got)
	}
}

func TestRememberedAnswersAge(t *testing.T) {
	c := newCache()
	now := time.Unix(1000, 0)
	c.now = func() time.Time { return now }
	m := new(dns.Msg).SetQuestion("a.example.", dns.TypeA)
	c.put(keyOf(m), says("192.0.2.1")(m))
	now = now.Add(10 * time.Second)
	if got := c.get(keyOf(m)); got == nil || got.Answer[0].Header().Ttl != 20 {
		t.Errorf("after 10 s of 30: %v", got)
	}
	now = now.Add(20 * time.Second)
	if got := c.get(keyOf(m)); got != nil {
		t.Errorf("after its time: %v", got)
	}
	for i := range 2 * cacheEntries {
		q := new(dns.Msg).SetQuestion(fmt.Sprintf("n%d.example.", i), dns.TypeA)
		c.put(keyOf(q), says("192.0.2.1")(q))
	}
	if len(c.entries) > cacheEntries {
		t.Errorf("%d answers remembered, want %d at most", len(c.entries), cacheEntries)
	}
}
