package ingress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http/httputil"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Config is the proxy's. The zero value of a duration or size is its default.
type Config struct {
	HTTP, HTTPS               string // listen addresses, ":80"; "": not served
	HTTPSetting, HTTPSSetting string // what the user calls them, for messages ("--ingress-http"); default the field's name
	Log                       *slog.Logger
	AccessLog                 io.Writer // nil: none. It is written to by one goroutine
	AccessFormat              AccessFormat
	Trusted                   []netip.Prefix // proxies in front whose X-Forwarded headers are believed

	HeaderTimeout   time.Duration // to send a request's header: 10 s
	ClientTimeout   time.Duration // between two reads of a request's body, two writes of a response: 60 s
	IdleTimeout     time.Duration // between two requests on a connection: 75 s
	ResponseTimeout time.Duration // from the request's end to the response's header: 60 s
	StaleTimeout    time.Duration // for another table, when every endpoint of this one failed: 1 s
	EmptyTimeout    time.Duration // for an endpoint, when a service has just lost its last one: 2 s
	DrainTimeout    time.Duration // for running requests when Run ends: 25 s
	MaxHeaderBytes  int           // of a request: 32 KiB

	Listen func(ctx context.Context, network, address string) (net.Listener, error) // nil: the host's
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)     // of endpoints. nil: the host's, for 1 s
}

func (c *Config) fill() {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.HeaderTimeout, 10*time.Second)
	def(&c.ClientTimeout, time.Minute)
	def(&c.IdleTimeout, 75*time.Second)
	def(&c.ResponseTimeout, time.Minute)
	def(&c.StaleTimeout, time.Second)
	def(&c.EmptyTimeout, 2*time.Second)
	def(&c.DrainTimeout, 25*time.Second)
	if c.MaxHeaderBytes <= 0 {
		c.MaxHeaderBytes = 32 << 10
	}
	c.HTTPSetting, c.HTTPSSetting = or(c.HTTPSetting, "Config.HTTP"), or(c.HTTPSSetting, "Config.HTTPS")
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Listen == nil {
		c.Listen = new(net.ListenConfig).Listen
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
}

// Proxy serves a Table. All methods are safe for concurrent use.
//
//	New ─► Run: waits ─► first Set ─► listening ⇄ retrying ─► Drain, Leave or end of ctx ─► running requests finish ─► ended
type Proxy struct {
	config    Config
	log       *slog.Logger
	serverLog *log.Logger
	template  httputil.ReverseProxy
	buffers   buffers
	access    *accessLog
	accessOn  atomic.Bool
	live      atomic.Pointer[picture]
	waiting   waiting
	totals    totals
	handlers  handlers
	doors     []*door
	conns     connections
	leaving   atomic.Bool // every answer from now on ends its connection

	setting sync.Mutex // serialises Set
	first   chan struct{}

	running  atomic.Bool
	patient  atomic.Bool   // DrainTimeout counts no more, but for Drain's own bound
	drain    chan struct{} // closed: stop accepting
	alone    chan struct{} // closed by Run: nobody is accepted any more
	cut      chan struct{} // closed: the running requests have had their time
	ended    chan struct{} // closed by Run
	drainOne sync.Once
	cutOne   sync.Once
}

// New makes a proxy; it starts nothing.
func New(c Config) *Proxy {
	c.fill()
	p := &Proxy{
		config: c, log: c.Log, serverLog: slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
		access: newAccessLog(c.AccessLog, c.AccessFormat),
		first:  make(chan struct{}), drain: make(chan struct{}), alone: make(chan struct{}), cut: make(chan struct{}), ended: make(chan struct{}),
	}
	p.accessOn.Store(true)
	p.template = p.newTemplate()
	if c.HTTP != "" {
		p.doors = append(p.doors, newDoor(p, "HTTP", c.HTTP, c.HTTPSetting))
	}
	if c.HTTPS != "" {
		p.doors = append(p.doors, newDoor(p, "HTTPS", c.HTTPS, c.HTTPSSetting))
	}
	return p
}

// Set swaps the table. Requests that are running finish by the old one; endpoints that the new one lacks get no more requests and
// their idle connections are closed. It never blocks on the network.
func (p *Proxy) Set(t *Table) {
	p.setting.Lock()
	defer p.setting.Unlock()
	old := p.live.Load()
	next, withdrawn := paint(t, old, time.Now(), func(a netip.AddrPort) *endpoint { return newEndpoint(a, &p.config) })
	p.live.Store(next)
	for _, e := range withdrawn {
		e.withdraw()
	}
	if old == nil {
		close(p.first)
	} else {
		close(old.replaced)
	}
}

// SetAccessLog switches the access log on or off.
func (p *Proxy) SetAccessLog(on bool) { p.accessOn.Store(on) }

// Run serves until ctx ends or Drain or Leave is called, and returns when every request has ended or had its time. It accepts nothing before
// the first Set. An address that cannot be listened on is tried again and again (see Status); that never ends Run.
func (p *Proxy) Run(ctx context.Context) error {
	if !p.running.CompareAndSwap(false, true) {
		return errors.New("ingress: Run was called twice")
	}
	defer close(p.ended)
	fallback, err := selfSigned(time.Now())
	if err != nil {
		return fmt.Errorf("ingress: %w", err)
	}
	select {
	case <-p.first:
	case <-p.drain:
		return nil
	case <-ctx.Done():
		return nil
	}
	requests, end := context.WithCancel(context.WithoutCancel(ctx)) // they outlive ctx by the time to drain
	defer end()
	accept, stop := context.WithCancel(ctx)
	defer stop()
	var group, logging sync.WaitGroup
	logged := make(chan struct{})
	if p.access != nil {
		logging.Go(func() { p.access.run(logged) })
	}
	for _, d := range p.doors {
		d.prepare(requests, fallback)
		group.Go(func() { d.run(accept) })
	}
	select {
	case <-p.drain:
	case <-ctx.Done():
	}
	stop()
	p.finishRequests(end, &group)
	for _, pl := range p.live.Load().pools {
		for _, e := range pl.endpoints {
			e.transport.CloseIdleConnections()
		}
	}
	close(logged)
	logging.Wait()
	return nil
}

// finishRequests lets running requests end, upgrades too, then cuts what is left. Shutdown comes late: from then on a server drops what
// it reads. Whoever was accepted gets an answer first, which ends the connection.
func (p *Proxy) finishRequests(end context.CancelFunc, doors *sync.WaitGroup) {
	bound, cancel := context.WithCancel(context.Background())
	defer cancel()
	if p.patient.Load() {
		p.log.Info("ingress takes nothing more", "active", p.totals.active.Load())
	} else {
		defer time.AfterFunc(p.config.DrainTimeout, cancel).Stop()
		p.log.Info("ingress is draining", "active", p.totals.active.Load(), "bound", p.config.DrainTimeout)
	}
	go func() {
		select {
		case <-p.cut:
			cancel()
		case <-bound.Done():
		}
	}()
	p.leaving.Store(true)
	for _, d := range p.doors {
		d.close()
	}
	doors.Wait() // all that were accepted are known
	close(p.alone)
	for _, d := range p.doors {
		d.server.SetKeepAlivesEnabled(false)
	}
	p.conns.settle(bound, first)
	var closing sync.WaitGroup
	for _, d := range p.doors {
		closing.Go(func() { _ = d.server.Shutdown(bound) }) // its only error is the bound's
	}
	closing.Wait()
	select {
	case <-p.handlers.idle():
	case <-bound.Done():
		p.log.Warn("ingress cuts requests that outlasted the drain", "active", p.totals.active.Load())
	}
	end()
	for _, d := range p.doors {
		_ = d.server.Close()
	}
	<-p.handlers.idle()
}

// Drain stops accepting, lets running requests finish and ends Run. When ctx ends first, what is left is cut and the
// error is ctx's. It may be called before, during and after Run and Leave, and more than once.
func (p *Proxy) Drain(ctx context.Context) error {
	p.drainOne.Do(func() { close(p.drain) })
	if !p.running.Load() {
		return nil
	}
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		p.cutOne.Do(func() { close(p.cut) })
		<-p.ended
		return fmt.Errorf("ingress: drain: %w", ctx.Err())
	}
}

// Status is nil when every configured address is listened on, or none is yet because no table was set; else what is wrong.
func (p *Proxy) Status() error {
	var errs []error
	for _, d := range p.doors {
		errs = append(errs, d.status())
	}
	return errors.Join(errs...)
}

// Listening is closed when every configured address has been listened on once.
func (p *Proxy) Listening() (http, https <-chan struct{}) {
	closed := make(chan struct{})
	close(closed)
	http, https = closed, closed
	for _, d := range p.doors {
		if d.secure() {
			https = d.open
		} else {
			http = d.open
		}
	}
	return http, https
}

// certificate serves the table's for the name, else one that nobody trusts: a browser then says what is wrong.
func (p *Proxy) certificate(fallback *tls.Certificate) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if c, ok := p.live.Load().table.Certificate(hello.ServerName); ok {
			return c, nil
		}
		return fallback, nil
	}
}

// buffers are reused between responses.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if x, ok := b.pool.Get().(*[32 << 10]byte); ok {
		return x[:]
	}
	return new([32 << 10]byte)[:]
}

func (b *buffers) Put(x []byte) { b.pool.Put((*[32 << 10]byte)(x)) }
