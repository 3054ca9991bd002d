package ingress

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// An endpoint may answer before it has read the request (413, 401) and hang up. The answer must not be lost on either of two
// connections: a peer that closes with unread data resets the connection, and a reset outruns what was sent before it.
//
//	client ── body ─► proxy ── body ─► endpoint answers, closes ─► RST
//	   ▲                │ write fails: wait for what can still be read (endpointConn)
//	   └─── answer ─────┘ "Connection: close", then read on for a while before closing (clientConn)

const (
	lastWords = time.Second     // for an endpoint's answer after a write to it has failed
	hearOut   = 3 * time.Second // for a client to see that it was answered and to stop sending
)

// endpointConn is a connection to an endpoint. A write that fails is held back until reading has come to its end as well: the
// transport would otherwise give up a request whose answer has arrived.
type endpointConn struct {
	net.Conn
	once  sync.Once
	ended chan struct{} // nothing more can be read
}

func newEndpointConn(c net.Conn) *endpointConn {
	return &endpointConn{Conn: c, ended: make(chan struct{})}
}

func (c *endpointConn) end() { c.once.Do(func() { close(c.ended) }) }

func (c *endpointConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.end()
	}
	return n, err
}

func (c *endpointConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		t := time.NewTimer(lastWords)
		defer t.Stop()
		select {
		case <-c.ended:
		case <-t.C:
		}
	}
	return n, err
}

func (c *endpointConn) Close() error {
	c.end()
	return c.Conn.Close()
}

// CloseWrite is for upgraded connections.
func (c *endpointConn) CloseWrite() error {
	if half, ok := c.Conn.(halfCloser); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}

// clientConn is a connection from a client.
type clientConn struct {
	*net.TCPConn
	sending atomic.Bool // it was answered while it sent a body
}

// Close lets a client that may still be sending see its answer. A second call ends that at once.
func (c *clientConn) Close() error {
	if c.sending.Swap(false) {
		_ = c.CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(hearOut))
		_, _ = io.Copy(io.Discard, c.TCPConn)
	}
	return c.TCPConn.Close()
}

// clients are what a listener accepts, as clientConn.
type clients struct{ net.Listener }

func (l clients) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		return &clientConn{TCPConn: tcp}, err
	}
	return c, err
}

type connKey struct{}

// remember has requests know their connection.
func remember(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

// answeredEarly ends the connection with this answer, because the rest of a body that nobody read would be taken for a next request.
// It is for HTTP/1 and before the header is sent.
func answeredEarly(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	if c, ok := r.Context().Value(connKey{}).(*clientConn); ok {
		c.sending.Store(true)
	}
}
