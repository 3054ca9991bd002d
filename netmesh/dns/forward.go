package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Bounds of what goes to the world.
const (
	askTimeout   = 2 * time.Second // one server
	totalTimeout = 4 * time.Second // all of them
	inFlight     = 256             // questions at once; more are answered "server failure" immediately
	shunFor      = 10 * time.Second
	rereadEvery  = 5 * time.Second
	maxServers   = 4
)

// errBusy says that too many questions wait for upstream servers already.
var errBusy = errors.New("too many questions are waiting for upstream name servers")

// forwarder asks the host's own name servers. A server that did not answer is asked last for a while.
type forwarder struct {
	resolvConf string
	skip       netip.Addr // ourselves
	slots      chan struct{}
	now        func() time.Time

	mu      sync.Mutex // guards all below
	fixed   bool
	servers []string
	stamp   time.Time // of the file
	checked time.Time
	shunned map[string]time.Time
}

func newForwarder(cfg Config) *forwarder {
	f := &forwarder{resolvConf: cfg.ResolvConf, skip: cfg.Listen.Addr(), slots: make(chan struct{}, inFlight), now: time.Now, shunned: map[string]time.Time{}}
	for _, s := range cfg.Upstreams {
		f.fixed = true
		f.servers = append(f.servers, s.String())
	}
	return f
}

// ask sends the question on and returns the first good answer.
func (f *forwarder) ask(ctx context.Context, question *dns.Msg, network string) (*dns.Msg, error) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	default:
		return nil, errBusy
	}
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	err := errors.New("this host has no upstream name server")
	for _, server := range f.order() {
		var reply *dns.Msg
		reply, err = exchange(ctx, question, network, server)
		if err == nil && reply.Rcode != dns.RcodeServerFailure && reply.Rcode != dns.RcodeRefused {
			f.shun(server, false)
			return reply, nil
		}
		if err == nil {
			err = errors.New(server + " answered " + dns.RcodeToString[reply.Rcode])
		} else {
			f.shun(server, true)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

func exchange(ctx context.Context, question *dns.Msg, network, server string) (*dns.Msg, error) {
	m := question.Copy()
	m.Id = dns.Id()
	c := &dns.Client{Net: network, Timeout: askTimeout, UDPSize: 4096}
	reply, _, err := c.ExchangeContext(ctx, m, server)
	if err == nil && reply.Truncated && network == "udp" { // ask again where there is room
		c.Net = "tcp"
		if whole, _, err := c.ExchangeContext(ctx, m, server); err == nil {
			return whole, nil
		}
	}
	return reply, err
}

func (f *forwarder) shun(server string, yes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if yes {
		f.shunned[server] = f.now().Add(shunFor)
	} else {
		delete(f.shunned, server)
	}
}

// order lists the servers, those that lately failed last.
func (f *forwarder) order() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if !f.fixed && now.Sub(f.checked) >= rereadEvery {
		f.checked = now
		f.reread()
	}
	var good, bad []string
	for _, s := range f.servers {
		if now.Before(f.shunned[s]) {
			bad = append(bad, s)
		} else {
			good = append(good, s)
		}
	}
	return append(good, bad...)
}

// reread follows changes of the host's resolv.conf. A file that can't be read leaves the servers as they were.
func (f *forwarder) reread() {
	info, err := os.Stat(f.resolvConf)
	if err != nil || info.ModTime().Equal(f.stamp) {
		return
	}
	conf, err := dns.ClientConfigFromFile(f.resolvConf)
	if err != nil {
		return
	}
	f.stamp, f.servers, f.shunned = info.ModTime(), nil, map[string]time.Time{}
	for _, s := range conf.Servers {
		if a, err := netip.ParseAddr(s); err == nil && a != f.skip && len(f.servers) < maxServers {
			f.servers = append(f.servers, net.JoinHostPort(s, conf.Port))
		}
	}
}
