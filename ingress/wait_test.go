package ingress

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

var endpointA = netip.MustParseAddrPort("10.0.0.1:80")

// within runs the test in virtual time, with a proxy whose endpoints all answer "here" through pipes.
func within(t *testing.T, test func(t *testing.T, p *Proxy)) {
	synctest.Test(t, func(t *testing.T) {
		calls := make(chan net.Conn)
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "here") })}
		ended := make(chan error)
		go func() { ended <- server.Serve(pipes(calls)) }()
		p := New(Config{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			here, there := net.Pipe()
			select {
			case calls <- there:
				return here, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}})
		test(t, p)
		p.Set(table(t, nil))
		close(calls)
		_ = server.Close()
		<-ended
	})
}

type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, io.EOF
}
func (pipes) Close() error   { return nil }
func (pipes) Addr() net.Addr { return &net.TCPAddr{} }

// ask sends one request and says what came of it, and after how long.
func ask(p *Proxy) string {
	begun, w := time.Now(), httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	return fmt.Sprint(w.Code, " after ", time.Since(begun))
}

func TestWhoHasJustLostItsLastEndpointIsWaitedFor(t *testing.T) {
	for _, x := range []struct {
		name        string
		empty, back time.Duration // the request comes so long after the loss, and an endpoint so long after the request; 0: never
		want        string
	}{
		{"it comes back at once", 0, 175 * time.Millisecond, "200 after 175ms"},
		{"it comes back too late", 0, 3 * time.Second, "503 after 2s"},
		{"it stays away", 4 * time.Second, 0, "503 after 2s"},
		{"it has been away for long", 6 * time.Second, time.Second, "503 after 0s"},
	} {
		t.Run(x.name, func(t *testing.T) {
			within(t, func(t *testing.T, p *Proxy) {
				p.Set(table(t, nil, endpointA))
				p.Set(table(t, nil))
				time.Sleep(x.empty)
				p.Set(table(t, nil)) // another picture makes the loss no younger
				if x.back > 0 {
					time.AfterFunc(x.back, func() { p.Set(table(t, nil, endpointA)) })
				}
				if got := ask(p); got != x.want {
					t.Errorf("got %s, want %s", got, x.want)
				}
				time.Sleep(x.back)
			})
		})
	}
}

func TestWhoNeverHadAnEndpointIsNotWaitedFor(t *testing.T) {
	within(t, func(t *testing.T, p *Proxy) {
		p.Set(table(t, nil))
		p.Set(table(t, nil))
		if got := ask(p); got != "503 after 0s" {
			t.Error(got)
		}
	})
}

func TestWaitingEndsWithTheRuleAndWithTheClient(t *testing.T) {
	within(t, func(t *testing.T, p *Proxy) {
		p.Set(table(t, nil, endpointA))
		p.Set(table(t, nil))
		ctx, leave := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer leave()
		begun := time.Now()
		func() {
			defer func() {
				if e := recover(); e != http.ErrAbortHandler {
					t.Errorf("who left was answered: %v", e)
				}
			}()
			p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
		}()
		if d := time.Since(begun); d != 100*time.Millisecond || p.waiting.n.Load() != 0 {
			t.Errorf("ended after %v, %d wait", d, p.waiting.n.Load())
		}
		empty, _ := Compile(nil, nil, nil)
		time.AfterFunc(50*time.Millisecond, func() { p.Set(empty) })
		if got := ask(p); got != "503 after 50ms" {
			t.Error(got)
		}
	})
}

func TestNotMoreWaitThanMay(t *testing.T) {
	within(t, func(t *testing.T, p *Proxy) {
		p.Set(table(t, nil, endpointA))
		p.Set(table(t, nil))
		answers := make(chan string, mostWaiting+1)
		for range mostWaiting + 1 {
			go func() { answers <- ask(p) }()
		}
		if got := <-answers; got != "503 after 0s" {
			t.Error("the one too many:", got)
		}
		synctest.Wait()
		p.Set(table(t, nil, endpointA))
		for range mostWaiting {
			if got := <-answers; got != "200 after 0s" {
				t.Fatal("a waiter:", got)
			}
		}
	})
}
