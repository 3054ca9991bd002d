package ingress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// door is one address that the proxy listens on.
type door struct {
	proxy                  *Proxy
	name, address, setting string
	server                 *http.Server
	open                   chan struct{} // closed when it has been listened on once
	opened                 bool          // touched by run only

	mu       sync.Mutex // guards what is below
	err      error
	bound    net.Addr
	listener net.Listener
	shut     bool
}

const (
	firstRetry   = 100 * time.Millisecond
	longestRetry = 10 * time.Second
)

func newDoor(p *Proxy, name, address, setting string) *door {
	c := &p.config
	return &door{proxy: p, name: name, address: address, setting: setting, open: make(chan struct{}), server: &http.Server{
		Handler:           p,
		ReadHeaderTimeout: c.HeaderTimeout,
		IdleTimeout:       c.IdleTimeout,
		MaxHeaderBytes:    c.MaxHeaderBytes,
		ErrorLog:          p.serverLog,
		ConnState:         p.conns.note,
		ConnContext:       remember,
	}}
}

func (d *door) secure() bool { return d.name == "HTTPS" }

// prepare must come before run: requests is the context that all requests live in.
func (d *door) prepare(requests context.Context, fallback *tls.Certificate) {
	d.server.BaseContext = func(net.Listener) context.Context { return requests }
	if d.secure() {
		d.server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: d.proxy.certificate(fallback), NextProtos: []string{"h2", "http/1.1"}}
	}
}

// run listens and serves until the server is shut down or ctx ends; an address that is taken is tried again.
func (d *door) run(ctx context.Context) {
	wait := firstRetry
	for ctx.Err() == nil {
		err := d.listen(ctx, func() { wait = firstRetry })
		if errors.Is(err, http.ErrServerClosed) || ctx.Err() != nil {
			break
		}
		d.report(err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, longestRetry)
	}
	d.set(nil, nil)
}

func (d *door) listen(ctx context.Context, up func()) error {
	l, err := d.proxy.config.Listen(ctx, "tcp", d.address)
	if err != nil {
		return err
	}
	if !d.hold(l) {
		return http.ErrServerClosed
	}
	up()
	d.set(l.Addr(), nil)
	d.proxy.log.Info("ingress listens", "for", d.name, "address", l.Addr().String())
	if !d.opened {
		d.opened = true
		close(d.open)
	}
	if d.secure() {
		return d.server.ServeTLS(clients{l}, "", "")
	}
	return d.server.Serve(clients{l})
}

// hold remembers the listener for close. After that it is closed at once.
func (d *door) hold(l net.Listener) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		l.Close()
		return false
	}
	d.listener = l
	return true
}

// close stops accepting and nothing else. http.Server.Shutdown would drop requests that it has not read yet.
func (d *door) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = true
	if d.listener != nil {
		d.listener.Close()
	}
}

// report keeps the error for Status and logs it when it is news.
func (d *door) report(err error) {
	text := err
	if errors.Is(err, syscall.EADDRINUSE) {
		text = fmt.Errorf("another process has this port (%w); stop it or choose another address", syscall.EADDRINUSE)
	}
	text = fmt.Errorf("ingress: listen for %s on %s (%s): %w", d.name, d.address, d.setting, text)
	old := d.status()
	d.set(nil, text)
	if old == nil || old.Error() != text.Error() {
		d.proxy.log.Warn("ingress cannot listen, trying on", "err", text)
	}
}

func (d *door) set(bound net.Addr, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bound, d.err = bound, err
}

func (d *door) status() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// Addrs are what is listened on now; nil where nothing is.
func (p *Proxy) Addrs() (http, https net.Addr) {
	for _, d := range p.doors {
		d.mu.Lock()
		if d.secure() {
			https = d.bound
		} else {
			http = d.bound
		}
		d.mu.Unlock()
	}
	return http, https
}
