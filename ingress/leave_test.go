package ingress

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// caller answers upgrades as echo does, counts what it is sent at /sum, and says at other paths what it is told to.
type caller map[string]chan string

func (c caller) answer(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/ws":
		echo(w, r)
	case "/sum":
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	default:
		for {
			select {
			case text, more := <-c[r.URL.Path]:
				if !more {
					return
				}
				fmt.Fprint(w, text)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}
}

// stream is something that runs through the proxy: on tries that it carries data, end that it ends whole.
type stream struct {
	on  func() error
	end func() error
}

// over is a client whose connections are made by dial, so that each stream has one of its own.
func over(t *testing.T, version int, dial func() (net.Conn, error)) *http.Client {
	p := &http.Protocols{}
	p.SetHTTP1(version == 1)
	p.SetHTTP2(version == 2)
	own := func(context.Context, string, string) (net.Conn, error) { return dial() }
	return client(t, &http.Transport{DialContext: own, DialTLSContext: own, Protocols: p})
}

// streams opens one of each kind through a proxy that serves c.
func (c caller) streams(t *testing.T, p *Proxy, plain, secure string) map[string]stream {
	bare := func() (net.Conn, error) { return net.Dial("tcp", plain) }
	sealed := func(next string) func() (net.Conn, error) {
		return func() (net.Conn, error) {
			return tls.Dial("tcp", secure, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{next}})
		}
	}
	all := map[string]stream{
		"upgrade":              converse(t, bare),
		"upgrade over TLS":     converse(t, sealed("http/1.1")),
		"download":             c.download(t, over(t, 1, bare), "http://x/plain"),
		"download over TLS":    c.download(t, over(t, 1, sealed("http/1.1")), "https://x/secure"),
		"download over HTTP/2": c.download(t, over(t, 2, sealed("h2")), "https://x/second"),
		"upload":               upload(t, over(t, 1, bare), "http://x/sum"),
		"upload over HTTP/2":   upload(t, over(t, 2, sealed("h2")), "https://x/sum"),
	}
	for p.handlers.busy() < len(all) {
		runtime.Gosched()
	}
	return all
}

func newCaller() caller {
	return caller{"/plain": make(chan string), "/secure": make(chan string), "/second": make(chan string)}
}

func converse(t *testing.T, dial func() (net.Conn, error)) stream {
	c, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(soon))
	fmt.Fprint(c, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	br := bufio.NewReader(c)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	on := func() error {
		fmt.Fprint(c, "hello\n")
		line, err := br.ReadString('\n')
		if line != "echo hello\n" {
			return fmt.Errorf("%q, %w", line, err)
		}
		return nil
	}
	return stream{on, func() error { return errors.Join(on(), c.Close()) }}
}

func (c caller) download(t *testing.T, from *http.Client, url string) stream {
	say := c["/"+path.Base(url)]
	answer := make(chan *http.Response, 1)
	go func() {
		resp, err := from.Get(url)
		if err != nil {
			t.Error(err)
		}
		answer <- resp
	}()
	tell := func() error {
		select {
		case say <- "data: more\n":
			return nil
		case <-time.After(soon):
			return errors.New("the endpoint has nobody to speak to")
		}
	}
	if err := tell(); err != nil {
		t.Fatal(err)
	}
	resp := <-answer
	if resp == nil {
		t.FailNow()
	}
	t.Cleanup(func() { resp.Body.Close() })
	body := bufio.NewReader(resp.Body)
	read := func() error {
		if got, err := body.ReadString('\n'); got != "data: more\n" {
			return fmt.Errorf("%q, %w", got, err)
		}
		return nil
	}
	if err := read(); err != nil {
		t.Fatal(err)
	}
	return stream{
		on: func() error { return errors.Join(tell(), read()) },
		end: func() error {
			close(say)
			if rest, err := io.ReadAll(body); len(rest) > 0 || err != nil {
				return fmt.Errorf("%q, %w", rest, err)
			}
			return nil
		},
	}
}

func upload(t *testing.T, to *http.Client, url string) stream {
	in, out := io.Pipe()
	answer := make(chan error, 1)
	var text []byte
	go func() {
		resp, err := to.Post(url, "text/plain", in)
		if err == nil {
			text, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		in.CloseWithError(errors.New("it was answered"))
		answer <- err
	}()
	sent := 0
	on := func() error {
		n, err := out.Write(make([]byte, 100<<10)) // more than is read before it is sent on
		sent += n
		return err
	}
	if err := on(); err != nil {
		t.Fatal(err)
	}
	return stream{on: on, end: func() error {
		out.Close()
		err := <-answer
		if want := fmt.Sprint(sent, nil); string(text) != want {
			return fmt.Errorf("%q, want %q: %w", text, want, err)
		}
		return nil
	}}
}

// What runs when a successor takes over lives until it ends by itself, whatever it is; who comes is not taken.
func TestWhatRunsOutlivesALeave(t *testing.T) {
	c := newCaller()
	p, plain, secure := start(t, Config{DrainTimeout: time.Nanosecond}, table(t, nil, backend(t, c.answer)))
	cutAtTheEnd(t, p)
	all := c.streams(t, p, plain, secure)
	if left := leave(p); left != len(all) {
		t.Errorf("%d are left, want %d", left, len(all))
	}
	for _, addr := range []string{plain, secure} {
		if x, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a connection after the leave: %v, %v", x, err)
		}
	}
	for name, s := range all {
		for range 3 {
			if err := s.on(); err != nil {
				t.Errorf("%s: after the leave: %v", name, err)
			}
		}
	}
	over := make(chan error, 1)
	go func() { over <- p.Drain(context.Background()) }()
	for name, s := range all {
		select {
		case <-over:
			t.Fatal("it ended before the last of them")
		default:
		}
		if err := s.end(); err != nil {
			t.Errorf("%s: at its end: %v", name, err)
		}
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// cutAtTheEnd has a test that fails end nevertheless.
func cutAtTheEnd(t *testing.T, p *Proxy) {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	t.Cleanup(func() { _ = p.Drain(over) })
}

// leave gives running requests no time.
func leave(p *Proxy) (left int) {
	at, cancel := context.WithCancel(context.Background())
	cancel()
	return p.Leave(at)
}

func TestABoundCutsWhatOutlivedALeaveAndSaysSo(t *testing.T) {
	var log strings.Builder
	c := newCaller()
	p, plain, secure := start(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, table(t, nil, backend(t, c.answer)))
	all := c.streams(t, p, plain, secure)
	leave(p)
	bound, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Drain(bound); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if !strings.Contains(log.String(), fmt.Sprintf("ingress cuts requests that outlasted the drain\" active=%d", len(all))) {
		t.Errorf("the log says %s", &log)
	}
	for name, s := range all {
		if s.end() == nil {
			t.Errorf("%s outlived the bound", name)
		}
	}
}

func TestNobodyIsLeftWhereNothingRuns(t *testing.T) {
	p, addr, _ := start(t, Config{}, table(t, nil, backend(t, echo)))
	ws, _ := upgrade(t, addr)
	ws.Close()
	if left := p.Leave(t.Context()); left != 0 {
		t.Errorf("%d are left", left)
	}
	<-p.ended
}
