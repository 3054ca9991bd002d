// Package load asks a service at a constant rate and writes down who failed, how, and when.
//
// Requests start on a fixed grid of time, whether or not earlier ones were answered (an open loop): a service that stands still is
// asked on, so that an outage costs as many requests as it lasted. Latency counts from the grid. Nothing is asked twice, but for
// what every HTTP client does: with kept connections, a request that finds its connection closed takes a new one.
package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Config says what to ask. URL, Rate and Duration are needed.
type Config struct {
	URL       string        // http or https
	Method    string        // default GET
	Body      string        // sent with every request
	Rate      float64       // requests per second, above 0, at most 10,000
	Duration  time.Duration // the run also ends with the context
	Targets   []netip.Addr  // connect to these by turn instead of the URL's host; empty: as the resolver says
	Timeout   time.Duration // of one request, connecting included; default 2 s
	KeepAlive bool          // keep connections; else every request has its own
	Insecure  bool          // take any certificate
	// Dial makes connections; default net.Dialer. A test bed dials from another network namespace.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

const (
	maxRate    = 10_000
	bodyLimit  = 1 << 20
	defaultTry = 2 * time.Second
)

func (c Config) complete() (Config, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return c, fmt.Errorf("url: %w", err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return c, fmt.Errorf("url: %q, want http://… or https://…", c.URL)
	case !(c.Rate > 0 && c.Rate <= maxRate):
		return c, fmt.Errorf("rate: %v requests per second, want above 0, at most %d", c.Rate, maxRate)
	case c.Duration <= 0:
		return c, fmt.Errorf("duration: %s, want above 0", c.Duration)
	case c.Timeout < 0:
		return c, fmt.Errorf("timeout: %s, want above 0", c.Timeout)
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTry
	}
	if c.Method == "" {
		c.Method = http.MethodGet
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	return c, nil
}

// Run asks until Duration is over or ctx ends, waits for the last answers, and reports.
func Run(ctx context.Context, cfg Config) (Report, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return Report{}, err
	}
	clients := cfg.clients()
	for _, c := range clients {
		defer c.CloseIdleConnections()
	}
	var (
		tally = newTally(cfg)
		work  sync.WaitGroup
		slots = make(chan struct{}, int(cfg.Rate*cfg.Timeout.Seconds())+100) // what can be under way when nothing is answered
		start = time.Now()
		step  = time.Duration(float64(time.Second) / cfg.Rate)
		timer = time.NewTimer(0)
	)
	defer timer.Stop()
	for i := 0; ; i++ {
		due := start.Add(time.Duration(i) * step)
		if due.Sub(start) >= cfg.Duration || !sleepUntil(ctx, timer, due) {
			break
		}
		c := clients[i%len(clients)]
		select {
		case slots <- struct{}{}:
		default:
			tally.add(sample{target: c.target, due: due, done: time.Now(), reason: "not sent: this load generator is overloaded"})
			continue
		}
		work.Go(func() {
			defer func() { <-slots }()
			status, err := c.ask(cfg)
			tally.add(sample{target: c.target, due: due, done: time.Now(), status: status, reason: reason(status, err)})
		})
	}
	work.Wait()
	return tally.report(start, time.Now()), nil
}

func sleepUntil(ctx context.Context, timer *time.Timer, due time.Time) bool {
	timer.Reset(time.Until(due))
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// client asks one target.
type client struct {
	*http.Client
	target string
}

func (c Config) clients() []client {
	if len(c.Targets) == 0 {
		return []client{c.client("")}
	}
	var all []client
	for _, t := range c.Targets {
		all = append(all, c.client(t.String()))
	}
	return all
}

func (c Config) client(target string) client {
	transport := &http.Transport{
		DisableKeepAlives: !c.KeepAlive, MaxIdleConnsPerHost: 256, IdleConnTimeout: 30 * time.Second,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: c.Insecure},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if target != "" {
				_, port, err := net.SplitHostPort(addr)
				if err != nil {
					return nil, err
				}
				addr = net.JoinHostPort(target, port)
			}
			return c.Dial(ctx, network, addr)
		},
	}
	follow := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client{&http.Client{Transport: transport, Timeout: c.Timeout, CheckRedirect: follow}, target}
}

// ask makes one request and reads the whole answer. It does not end with the run's context: what was begun is counted.
func (c client) ask(cfg Config) (status int, err error) {
	req, err := http.NewRequest(cfg.Method, cfg.URL, strings.NewReader(cfg.Body))
	if err != nil {
		return 0, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, bodyLimit))
	return resp.StatusCode, err
}

// reason puts failures into few words, so that they can be counted. An answer below 400 is no failure.
func reason(status int, err error) string {
	switch {
	case err == nil && status < 400:
		return ""
	case err == nil:
		return fmt.Sprintf("status %d", status)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return err.Error()
}
