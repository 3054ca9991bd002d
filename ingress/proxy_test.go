package ingress

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const soon = 10 * time.Second // for what must happen; never waited for in full

func backend(t testing.TB, h http.HandlerFunc) netip.AddrPort {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

func table(t testing.TB, certs []Certificate, endpoints ...netip.AddrPort) *Table {
	t.Helper()
	out, errs := Compile([]Rule{{Name: "default/web", Path: "/", Backend: Backend{Name: "default/web:80", Endpoints: endpoints}}}, certs, nil)
	for _, err := range errs {
		t.Error(err)
	}
	return out
}

// start runs a proxy with the table on free ports and returns its addresses.
func start(t testing.TB, c Config, first *Table) (p *Proxy, plain, secure string) {
	t.Helper()
	if c.HTTP == "" {
		c.HTTP, c.HTTPS = "127.0.0.1:0", "127.0.0.1:0"
	}
	p = New(c)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	p.Set(first)
	a, b := p.Listening()
	<-a
	<-b
	x, y := p.Addrs()
	plain = x.String()
	if y != nil {
		secure = y.String()
	}
	return p, plain, secure
}

func client(t testing.TB, tr *http.Transport) *http.Client {
	if tr == nil {
		tr = &http.Transport{}
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: soon}
}

func get(t testing.TB, c *http.Client, url string) (int, string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// closedPort is an address where nobody listens.
func closedPort(t testing.TB) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

func TestHeaders(t *testing.T) {
	got := make(chan *http.Request, 1)
	e := backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "X-Secret")
		w.Header().Set("X-Secret", "hop")
		got <- r.Clone(context.Background())
	})
	send := func(addr string) (*http.Request, *http.Response) {
		r, _ := http.NewRequest("GET", "http://"+addr+"/a%2Fb/c?x=1;y=%zz", nil)
		r.Host = "shop.example.com"
		r.Header = http.Header{"X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Proto": {"https"}, "X-Real-Ip": {"6.6.6.6"}, "Connection": {"X-Hop, keep-alive"},
			"X-Hop": {"1"}, "Proxy": {"evil"}, "Keep-Alive": {"5"}, "X-Kept": {"yes"}}
		resp, err := client(t, nil).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return <-got, resp
	}
	_, addr, _ := start(t, Config{}, table(t, nil, e))
	r, resp := send(addr)
	for k, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "shop.example.com",
		"X-Real-Ip": "127.0.0.1", "X-Hop": "", "Proxy": "", "Keep-Alive": "", "X-Kept": "yes", "User-Agent": "Go-http-client/1.1"} {
		if got := strings.Join(r.Header.Values(k), ","); got != want {
			t.Errorf("%s: %q, want %q", k, got, want)
		}
	}
	if r.Host != "shop.example.com" || r.RequestURI != "/a%2Fb/c?x=1;y=%zz" {
		t.Errorf("host %q, URI %q", r.Host, r.RequestURI)
	}
	if resp.Header.Get("X-Secret") != "" {
		t.Error("a hop-by-hop header came back")
	}
	_, addr, _ = start(t, Config{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, table(t, nil, e))
	r, _ = send(addr)
	if r.Header.Get("X-Forwarded-For") != "1.2.3.4, 127.0.0.1" || r.Header.Get("X-Forwarded-Proto") != "https" || r.Header.Get("X-Real-Ip") != "6.6.6.6" {
		t.Errorf("a trusted proxy's headers were lost: %v", r.Header)
	}
}

func TestPages(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	dead, slow := closedPort(t), backend(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	rules := []Rule{
		{Name: "shop/empty", Path: "/empty", Backend: Backend{Name: "shop/empty:80"}},
		{Name: "shop/gone", Path: "/gone", Backend: Backend{Name: "shop/gone:80", Missing: "there is no such service"}},
		{Name: "shop/dead", Path: "/dead", Backend: Backend{Name: "shop/dead:80", Endpoints: []netip.AddrPort{dead}}},
		{Name: "shop/slow", Path: "/slow", Backend: Backend{Name: "shop/slow:80", Endpoints: []netip.AddrPort{slow}}},
	}
	tb, _ := Compile(rules, nil, nil)
	p, addr, _ := start(t, Config{ResponseTimeout: 50 * time.Millisecond, StaleTimeout: time.Millisecond}, tb)
	c := client(t, nil)
	for _, x := range []struct {
		path   string
		status int
		text   string
	}{
		{"/none", 404, `no ingress rule for host "127.0.0.1" has this path`},
		{"/empty", 503, "ingress shop/empty, service shop/empty:80: the service has no ready endpoints"},
		{"/gone", 503, "ingress shop/gone, service shop/gone:80: there is no such service"},
		{"/dead", 502, "ingress shop/dead, service shop/dead:80: no endpoint could be reached (1 attempt)"},
		{"/slow", 504, "ingress shop/slow, service shop/slow:80: no answer in time"},
	} {
		status, body := get(t, c, "http://"+addr+x.path)
		if status != x.status || !strings.Contains(body, x.text) || strings.Contains(body, dead.String()) {
			t.Errorf("%s: %d %q", x.path, status, body)
		}
	}
	s := p.Snapshot()
	if s.Requests != 5 || s.Unmatched != 1 || s.Ejections != 1 || len(s.Rules) != 4 {
		t.Errorf("%+v", s)
	}
	if r := s.Rules[0]; r.Rule != "shop/dead" || r.Unreachable != 1 || r.Classes[5] != 1 {
		t.Errorf("%+v", r)
	}
}

func TestRetryWhenRefused(t *testing.T) {
	var hits atomic.Int64
	e := backend(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		hits.Add(1)
		fmt.Fprintf(w, "%s %d", r.Method, len(b))
	})
	p, addr, _ := start(t, Config{}, table(t, nil, closedPort(t), closedPort(t), e))
	c := client(t, nil)
	for _, size := range []int{0, 1000, 1 << 20} { // without, replayable, streamed
		for range 20 {
			resp, err := c.Post("http://"+addr, "text/plain", io.LimitReader(strings.NewReader(strings.Repeat("x", size)), int64(size)))
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if want := fmt.Sprintf("POST %d", size); string(b) != want {
				t.Fatalf("%d %q, want %q", resp.StatusCode, b, want)
			}
		}
	}
	s := p.Snapshot()
	if hits.Load() != 60 || s.Retries == 0 || s.Ejections == 0 {
		t.Errorf("%d hits, %+v", hits.Load(), s)
	}
	if s.Ejections > 10 {
		t.Errorf("refusing endpoints were asked %d times: they are not left out", s.Ejections)
	}
}

// breaker accepts connections, reads a request and closes without an answer.
func breaker(t *testing.T) (netip.AddrPort, *atomic.Int64) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var hits atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			hits.Add(1)
			_, _ = http.ReadRequest(bufio.NewReader(c))
			c.Close()
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return netip.MustParseAddrPort(l.Addr().String()), &hits
}

func TestRetryWhenBrokenOff(t *testing.T) {
	broken, hits := breaker(t)
	good := backend(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, len(b))
	})
	_, addr, _ := start(t, Config{}, table(t, nil, broken, good))
	c := client(t, nil)
	do := func(method, body string) int {
		r, _ := http.NewRequest(method, "http://"+addr, strings.NewReader(body))
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if b, _ := io.ReadAll(resp.Body); resp.StatusCode == 200 && string(b) != fmt.Sprint(len(body)) {
			t.Errorf("%s: the endpoint got %s bytes, want %d", method, b, len(body))
		}
		return resp.StatusCode
	}
	for range 30 {
		for _, m := range []string{"GET", "PUT", "DELETE"} {
			if status := do(m, map[string]string{"PUT": "small"}[m]); status != 200 {
				t.Fatalf("%s: %d", m, status)
			}
		}
	}
	if hits.Load() == 0 {
		t.Fatal("the broken endpoint was never asked")
	}
	seen := map[int]int{}
	for range 40 {
		seen[do("POST", "order")]++ // must not be sent twice
	}
	if seen[502] == 0 || seen[200] == 0 {
		t.Errorf("POST: %v", seen)
	}
}

// An answer that breaks off half-way reaches the client as broken, and is not asked for again.
func TestBrokenAnswerStaysBroken(t *testing.T) {
	var hits atomic.Int64
	h := func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	_, addr, _ := start(t, Config{}, table(t, nil, backend(t, h), backend(t, h)))
	if resp, err := client(t, nil).Get("http://" + addr); err == nil {
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Error("the client was told that all is well")
		}
		resp.Body.Close()
	}
	if hits.Load() != 1 {
		t.Errorf("asked %d times", hits.Load())
	}
}

func upgrade(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(soon))
	fmt.Fprint(c, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n")
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	return c, br
}

// echo answers an upgrade and then every line.
func echo(w http.ResponseWriter, r *http.Request) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer c.Close()
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
	rw.Flush()
	for {
		line, err := rw.ReadString('\n')
		if err != nil {
			return
		}
		fmt.Fprint(rw, "echo "+line)
		rw.Flush()
	}
}

func TestUpgrade(t *testing.T) {
	p, addr, _ := start(t, Config{}, table(t, nil, backend(t, echo)))
	c, br := upgrade(t, addr)
	for i := range 3 {
		fmt.Fprintf(c, "hello %d\n", i)
		if got, _ := br.ReadString('\n'); got != fmt.Sprintf("echo hello %d\n", i) {
			t.Fatalf("%q", got)
		}
	}
	p.Set(table(t, nil, backend(t, echo))) // the endpoint is withdrawn: what runs goes on
	fmt.Fprint(c, "still there\n")
	if got, _ := br.ReadString('\n'); got != "echo still there\n" {
		t.Fatalf("%q", got)
	}
	if s := p.Snapshot(); s.Active != 1 {
		t.Errorf("%+v", s)
	}
}

func TestDrain(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	e := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			echo(w, r)
			return
		}
		arrived <- struct{}{}
		<-release
		fmt.Fprint(w, "finished")
	})
	p, addr, _ := start(t, Config{}, table(t, nil, e))
	ws, br := upgrade(t, addr)
	answer := make(chan string, 1)
	c := client(t, nil)
	go func() {
		resp, err := c.Get("http://" + addr)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answer <- fmt.Sprint(string(b), " close=", resp.Close)
	}()
	<-arrived
	drained := make(chan error, 1)
	bound, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { drained <- p.Drain(bound) }()
	for {
		x, err := net.Dial("tcp", addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			break
		} else if err == nil {
			x.Close()
		}
	}
	close(release)
	if got := <-answer; got != "finished close=true" {
		t.Errorf("the running request: %q", got)
	}
	fmt.Fprint(ws, "during drain\n")
	if got, _ := br.ReadString('\n'); got != "echo during drain\n" {
		t.Errorf("the running upgrade: %q", got)
	}
	cancel() // its time is over
	if err := <-drained; !errors.Is(err, context.Canceled) {
		t.Errorf("drain: %v", err)
	}
	if _, err := br.ReadString('\n'); err == nil {
		t.Error("the upgrade outlived the drain's bound")
	}
}

// While endpoints come and go, no request fails.
func TestSwapUnderLoad(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) { // answers while it reads
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	}
	var es []netip.AddrPort
	for range 6 {
		es = append(es, backend(t, h))
	}
	p, addr, _ := start(t, Config{}, table(t, nil, es[:3]...))
	ctx, stop := context.WithTimeout(context.Background(), 700*time.Millisecond)
	defer stop()
	var wg sync.WaitGroup
	var done atomic.Int64
	tr := &http.Transport{MaxIdleConnsPerHost: 16}
	c := client(t, tr)
	for i := range 8 {
		wg.Go(func() {
			body := strings.Repeat("x", 100+i*20000)
			for ctx.Err() == nil {
				resp, err := c.Post("http://"+addr+"/p", "text/plain", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 || err != nil || len(b) != len(body) {
					t.Errorf("%d, %d bytes, %v: %.100s", resp.StatusCode, len(b), err, b)
					return
				}
				done.Add(1)
			}
		})
	}
	swaps := 0
	for ; ctx.Err() == nil; swaps++ {
		p.Set(table(t, nil, es[swaps%4:swaps%4+3]...))
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
		}
	}
	wg.Wait()
	if done.Load() < 20 || swaps < 10 {
		t.Errorf("%d requests, %d swaps", done.Load(), swaps)
	}
	if s := p.Snapshot(); s.Rules[0].Classes[2] != uint64(done.Load()) {
		t.Errorf("%d requests, counted %+v", done.Load(), s)
	}
}

func TestWithdrawnEndpointLosesItsIdleConnections(t *testing.T) {
	states := make(chan http.ConnState, 16)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) { states <- st }
	s.Start()
	defer s.Close()
	p, addr, _ := start(t, Config{}, table(t, nil, netip.MustParseAddrPort(s.Listener.Addr().String())))
	get(t, client(t, nil), "http://"+addr)
	await := func(want http.ConnState) {
		for {
			select {
			case st := <-states:
				if st == want {
					return
				}
			case <-time.After(soon):
				t.Fatalf("never %v", want)
			}
		}
	}
	await(http.StateIdle)
	p.Set(table(t, nil))
	await(http.StateClosed)
}

func TestNothingIsAcceptedBeforeTheFirstTable(t *testing.T) {
	asked := make(chan struct{}, 1)
	p := New(Config{HTTP: "127.0.0.1:0", Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
		asked <- struct{}{}
		return new(net.ListenConfig).Listen(ctx, network, address)
	}})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	select {
	case <-asked:
		t.Error("listened without a table")
	case <-time.After(30 * time.Millisecond):
	}
	if err := p.Status(); err != nil {
		t.Error(err)
	}
	p.Set(table(t, nil))
	<-asked
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := p.Run(context.Background()); err == nil {
		t.Error("Run twice")
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tried := make(chan struct{}, 100)
	p := New(Config{HTTP: l.Addr().String(), HTTPS: "127.0.0.1:0", HTTPSetting: "--ingress-http", Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
		if address != "127.0.0.1:0" {
			tried <- struct{}{}
		}
		return new(net.ListenConfig).Listen(ctx, network, address)
	}})
	p.Set(table(t, nil))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	defer func() { stop(); <-ended }()
	plain, secure := p.Listening()
	<-secure // lives on
	<-tried
	<-tried // the first failure has been reported
	want := fmt.Sprintf("ingress: listen for HTTP on %s (--ingress-http): another process has this port (address already in use); stop it or choose another address", l.Addr())
	if err := p.Status(); fmt.Sprint(err) != want || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v, want %s", err, want)
	}
	l.Close()
	<-plain
	if err := p.Status(); err != nil {
		t.Error(err)
	}
}

// authority signs certificates for the tests.
func pair(t testing.TB, hosts ...string) Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: hosts, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	k, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return Certificate{Name: "default/" + hosts[0], Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: k})}
}

func TestTLS(t *testing.T) {
	e := backend(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Forwarded-Proto")) })
	shop, wild := pair(t, "shop.example.com"), pair(t, "*.example.com")
	p, _, addr := start(t, Config{}, table(t, []Certificate{shop, wild}, e))
	served := func(name string) string {
		c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return strings.Join(c.ConnectionState().PeerCertificates[0].DNSNames, ",")
	}
	for name, want := range map[string]string{"shop.example.com": "shop.example.com", "SHOP.example.com": "shop.example.com", "other.example.com": "*.example.com",
		"a.b.example.com": "ingress.orpheus.invalid", "example.com": "ingress.orpheus.invalid", "": "ingress.orpheus.invalid"} {
		if got := served(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(shop.Cert)
	c := client(t, &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "shop.example.com"}})
	resp, err := c.Get("https://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.ProtoMajor != 2 || string(b) != "https" {
		t.Errorf("HTTP/%d %q", resp.ProtoMajor, b)
	}
	renewed := pair(t, "shop.example.com", "www.example.com")
	p.Set(table(t, []Certificate{renewed}, e))
	if got := served("shop.example.com"); got != "shop.example.com,www.example.com" {
		t.Errorf("after renewal: %s", got)
	}
}

func TestCertificatesThatAreWrongAreReported(t *testing.T) {
	good, other := pair(t, "a.com"), pair(t, "b.com")
	mixed := Certificate{Name: "default/mixed", Cert: good.Cert, Key: other.Key}
	elsewhere := other
	elsewhere.Hosts = []string{"c.com"}
	tb, errs := Compile(nil, []Certificate{mixed, elsewhere, good}, nil)
	if len(errs) != 2 || !strings.Contains(errs[0].Error(), "default/mixed") || !strings.Contains(errs[1].Error(), "c.com") {
		t.Errorf("%v", errs)
	}
	if _, ok := tb.Certificate("a.com:443"); !ok {
		t.Error("the good pair is missing")
	}
	if _, ok := tb.Certificate("c.com"); !ok {
		t.Error("a pair for another name is better than none")
	}
}

func TestSlowClients(t *testing.T) {
	e := backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	_, addr, _ := start(t, Config{HeaderTimeout: 50 * time.Millisecond, ClientTimeout: 50 * time.Millisecond}, table(t, nil, e))
	for name, x := range map[string]struct{ send, want string }{
		"header that never ends":      {"GET / HTTP/1.1\r\nHost: x\r\nX-A: ", ""},
		"small body that never comes": {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab", "HTTP/1.1 408"},
		"large body that never comes": {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\nab", "HTTP/1.1 408"},
		"header too large":            {"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", "HTTP/1.1 431"},
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(soon))
		_, _ = io.WriteString(c, x.send)
		b, err := io.ReadAll(c)
		c.Close()
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("%s: the connection stays open", name)
		}
		if !strings.HasPrefix(string(b), x.want) {
			t.Errorf("%s: %q", name, b)
		}
	}
}

// Over HTTP/2 deadlines fire by themselves: an endpoint that reads slowly must not cost a patient client its request.
func TestSlowEndpointIsNotTheClientsFault(t *testing.T) {
	e := backend(t, func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 1<<20)
		_, _ = io.ReadFull(r.Body, buf)
		<-time.After(3 * time.Second) // the client's data waits meanwhile
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n+int64(len(buf)))
	})
	_, _, secure := start(t, Config{ClientTimeout: 2 * time.Second}, table(t, nil, e))
	c := client(t, &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}})
	resp, err := c.Post("https://"+secure, "text/plain", bytes.NewReader(make([]byte, 16<<20)))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(b) != "16777216" {
		t.Errorf("%d %q", resp.StatusCode, b)
	}
}

// What is left of a body that nobody read is never taken for a next request.
func TestRestOfABodyIsNoRequest(t *testing.T) {
	var paths sync.Map
	e := backend(t, func(w http.ResponseWriter, r *http.Request) { paths.Store(r.URL.Path, true) }) // does not read
	tb, _ := Compile([]Rule{{Name: "default/web", Path: "/a", Backend: Backend{Name: "default/web:80", Endpoints: []netip.AddrPort{e}}},
		{Name: "default/empty", Path: "/empty", Backend: Backend{Name: "default/empty:80"}}}, nil, nil)
	_, addr, _ := start(t, Config{}, tb)
	smuggled := strings.Repeat("GET /a/smuggled HTTP/1.1\r\nHost: x\r\n\r\n", 30000)
	for _, path := range []string{"/a", "/empty", "/none"} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(soon))
		go func() { // the proxy may close before it has taken all
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(smuggled), smuggled)
		}()
		br := bufio.NewReader(c)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		_ = c.SetDeadline(time.Now().Add(100 * time.Millisecond)) // nothing more may come
		if b, _ := io.ReadAll(br); len(b) > 0 {
			t.Errorf("%s: a second answer to one request: %.200q", path, b)
		}
		c.Close()
	}
	if _, bad := paths.Load("/a/smuggled"); bad {
		t.Error("a request was smuggled")
	}
}

// A slow answer may take longer than the client's patience, and a long upload is no matter of size.
func TestPatienceIsPerStep(t *testing.T) {
	e := backend(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		for i := range 4 {
			fmt.Fprintf(w, "%d:%d ", n, i)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(80 * time.Millisecond) // longer in sum than the patience
		}
	})
	_, plain, secure := start(t, Config{ClientTimeout: 250 * time.Millisecond}, table(t, nil, e))
	for _, url := range []string{"http://" + plain, "https://" + secure} {
		c := client(t, &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}})
		for range 2 { // the second on the same connection
			resp, err := c.Post(url, "text/plain", bytes.NewReader(make([]byte, 3<<20)))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if want := "3145728:0 3145728:1 3145728:2 3145728:3 "; string(b) != want || err != nil {
				t.Errorf("%s: %q %v", url, b, err)
			}
		}
	}
}

func TestAccessLog(t *testing.T) {
	e := backend(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") })
	for format, want := range map[AccessFormat][]string{
		JSONLines: {`"msg":"request","client":"127.0.0.1","method":"GET"`, `"uri":"/x?y=1","proto":"HTTP/1.1","status":200,"bytes":5,`, `"rule":"default/web","backend":"default/web:80"`},
		Combined:  {"127.0.0.1 - - [", `] "GET /x?y=1 HTTP/1.1" 200 5 "-" "Go-http-client/1.1"`},
	} {
		var out bytes.Buffer
		p := New(Config{HTTP: "127.0.0.1:0", AccessLog: &out, AccessFormat: format})
		p.Set(table(t, nil, e))
		ended := make(chan error, 1)
		go func() { ended <- p.Run(context.Background()) }()
		plain, _ := p.Listening()
		<-plain
		addr, _ := p.Addrs()
		c := client(t, nil)
		get(t, c, "http://"+addr.String()+"/x?y=1")
		p.SetAccessLog(false)
		get(t, c, "http://"+addr.String()+"/silent")
		if err := p.Drain(context.Background()); err != nil {
			t.Fatal(err)
		}
		<-ended
		for _, w := range want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s lacks %s", out.String(), w)
			}
		}
		if strings.Contains(out.String(), "silent") {
			t.Error("logged while switched off")
		}
	}
}

func TestPick(t *testing.T) {
	es := []*endpoint{{}, {}, {}}
	p := &pool{endpoints: es}
	es[1].inFlight.Store(100)
	counts := map[*endpoint]int{}
	for range 3000 {
		counts[p.pick(1, nil)]++
	}
	if n := counts[es[1]]; n > 500 {
		t.Errorf("the busy endpoint was chosen %d times of 3000", n)
	}
	es[0].ejected.Store(5)
	es[2].ejected.Store(5)
	if e := p.pick(1, nil); e != es[1] {
		t.Error("an ejected endpoint was chosen before a healthy one")
	}
	if e := p.pick(1, []*endpoint{es[1]}); e == nil || e == es[1] {
		t.Error("ejected endpoints are better than none")
	}
	if e := p.pick(1, es); e != nil {
		t.Error("all were tried")
	}
	now := time.Unix(100, 0)
	var e endpoint
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		e.connectFailed(now, syscall.ECONNREFUSED)
		if got := e.ejected.Load() - now.UnixNano(); got != int64(want*time.Second) {
			t.Errorf("failure %d: ejected for %v", i+1, time.Duration(got))
		}
	}
	e.connected()
	if !e.healthy(now.UnixNano()) {
		t.Error("one success heals")
	}
	if e.connectFailed(now, syscall.EMFILE) {
		t.Error("our lack of descriptors is not the endpoint's fault")
	}
}
