package ingress

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// awkward is a server that answers so many requests on a connection and then behaves as told. It counts the requests that it has read.
func awkward(t *testing.T, answers int, then func(c net.Conn, br *bufio.Reader, read func())) (netip.AddrPort, *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var hits atomic.Int64
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer c.Close()
				br := bufio.NewReader(c)
				for range answers {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					hits.Add(1)
					fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
				then(c, br, func() { hits.Add(1) })
			})
		}
	})
	t.Cleanup(func() { l.Close(); work.Wait() })
	return netip.MustParseAddrPort(l.Addr().String()), &hits
}

func receive(br *bufio.Reader, read func()) {
	if r, err := http.ReadRequest(br); err == nil {
		_, _ = io.Copy(io.Discard, r.Body)
		read()
	}
}

// reset ends a connection without its proper end, as a killed process with unread data does.
func reset(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }

func TestEndpointsThatBreakOffAtEveryMoment(t *testing.T) {
	for name, then := range map[string]func(c net.Conn, br *bufio.Reader, read func()){
		"before the request":           func(net.Conn, *bufio.Reader, func()) {},
		"before the request, by reset": func(c net.Conn, _ *bufio.Reader, _ func()) { reset(c) },
		"in the request, by reset":     func(c net.Conn, br *bufio.Reader, _ func()) { _, _ = br.Peek(1); reset(c) },
		"after the request":            func(_ net.Conn, br *bufio.Reader, read func()) { receive(br, read) },
		"after the request, by reset":  func(c net.Conn, br *bufio.Reader, read func()) { receive(br, read); reset(c) },
		"in the answer's header": func(c net.Conn, br *bufio.Reader, read func()) {
			receive(br, read)
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Le")
		},
		"after an interim answer": func(c net.Conn, br *bufio.Reader, read func()) {
			receive(br, read)
			fmt.Fprint(c, "HTTP/1.1 103 Early Hints\r\n\r\n")
		},
	} {
		for answers := range 3 { // on a new connection, and on one that was kept
			t.Run(fmt.Sprintf("%s, after %d answers", name, answers), func(t *testing.T) {
				bad, hits := awkward(t, answers, then)
				var served atomic.Int64
				good := backend(t, func(_ http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					served.Add(1)
				})
				_, addr, _ := start(t, Config{}, table(t, nil, bad, good))
				c := client(t, nil)
				do := func(method, body string) int {
					r, _ := http.NewRequest(method, "http://"+addr, strings.NewReader(body))
					resp, err := c.Do(r)
					if err != nil {
						t.Fatalf("%s: %v", method, err)
					}
					defer resp.Body.Close()
					_, _ = io.Copy(io.Discard, resp.Body)
					return resp.StatusCode
				}
				for i := range 60 {
					m := []string{"GET", "PUT", "DELETE"}[i%3]
					if status := do(m, strings.Repeat("x", i%2*100)); status != 200 {
						t.Fatalf("%s number %d: %d", m, i, status)
					}
				}
				before := hits.Load() + served.Load()
				const posts = 40
				for range posts {
					if status := do("POST", "order"); status != 200 && status != 502 {
						t.Fatalf("POST: %d", status)
					}
				}
				if n := hits.Load() + served.Load() - before; n > posts {
					t.Errorf("%d orders arrived as %d", posts, n)
				}
			})
		}
	}
}

// All endpoints that a node knows of have gone, and the word of it is still on its way: what can be sent again waits for it.
func TestRequestsWaitForTheWordThatEndpointsMoved(t *testing.T) {
	for _, kept := range []bool{false, true} {
		dead := closedPort(t)
		if kept { // refuses only after the connection that was kept has broken
			dead, _ = awkward(t, 0, func(net.Conn, *bufio.Reader, func()) {})
		}
		good := backend(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "moved") })
		p, addr, _ := start(t, Config{StaleTimeout: soon}, table(t, nil, dead))
		first := p.live.Load().pools[0].endpoints[0]
		c := client(t, nil)
		answer := make(chan string, 1)
		go func() {
			resp, err := c.Get("http://" + addr)
			if err != nil {
				answer <- err.Error()
				return
			}
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			answer <- fmt.Sprint(resp.StatusCode, " ", string(b))
		}()
		for first.ejected.Load() == 0 && !kept { // the attempt has failed
			select {
			case a := <-answer:
				t.Fatal(a)
			default:
			}
		}
		p.Set(table(t, nil, dead)) // a picture that brings nothing new
		p.Set(table(t, nil, dead, good))
		if a := <-answer; a != "200 moved" {
			t.Errorf("kept connection %v: %s", kept, a)
		}
	}
}

func TestDismissWaitsForUpgradesThatAreAlone(t *testing.T) {
	p, addr, _ := start(t, Config{}, table(t, nil, backend(t, echo)))
	ws, _ := upgrade(t, addr)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if p.Dismiss(ctx); ctx.Err() == nil {
		t.Error("a running upgrade was not waited for")
	}
	ws.Close()
	p.Dismiss(t.Context())
}

func TestDismiss(t *testing.T) {
	arrived, finish := make(chan struct{}, 8), make(chan struct{})
	e := backend(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			arrived <- struct{}{}
			<-finish
		}
	})
	p, addr, _ := start(t, Config{}, table(t, nil, e))
	c := client(t, nil)
	ask := func(path string) (closes bool) {
		resp, err := c.Get("http://" + addr + path)
		if err != nil {
			t.Error(err)
			return false
		}
		resp.Body.Close()
		return resp.Close
	}
	if ask("/") {
		t.Error("a connection is not kept")
	}
	long := make(chan bool, 2)
	go func() { long <- ask("/long") }()
	<-arrived
	ended := make(chan struct{})
	go func() { p.Dismiss(context.Background()); close(ended) }()
	for !p.leaving.Load() {
	}
	for range 3 {
		if !ask("/") {
			t.Error("an answer after the dismissal keeps its connection")
		}
	}
	go func() { long <- ask("/long") }() // came later: not waited for
	<-arrived
	select {
	case <-ended:
		t.Error("a request that ran at the dismissal was not waited for")
	default:
	}
	finish <- struct{}{}
	finish <- struct{}{}
	<-long
	<-long
	<-ended
}

// Who was accepted before the drain has sent nothing yet: a handshake takes its time. The request that follows is answered.
func TestDrainAnswersWhoWasAcceptedBeforeIt(t *testing.T) {
	e := backend(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "in time") })
	p, addr, _ := start(t, Config{}, table(t, nil, e))
	var conns []net.Conn
	for range 8 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	for accepted := 0; accepted < len(conns); {
		p.conns.mu.Lock()
		accepted = len(p.conns.state)
		p.conns.mu.Unlock()
	}
	drained := make(chan error, 1)
	go func() { drained <- p.Drain(context.Background()) }()
	for !p.leaving.Load() {
	}
	for _, c := range conns {
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	for i, c := range conns {
		_ = c.SetDeadline(time.Now().Add(soon))
		b, err := io.ReadAll(c)
		if err != nil || !strings.HasSuffix(string(b), "in time") || !strings.Contains(string(b), "Connection: close") {
			t.Errorf("connection %d: %q, %v", i, b, err)
		}
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}
