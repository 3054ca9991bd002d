package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startRedis runs a real one, with a password, on a port of loopback.
func startRedis(t *testing.T, password string) string {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed: apt-get install redis-server")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir(), "--requirepass", password)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "Ready to accept connections") {
			go io.Copy(io.Discard, out)
			return addr
		}
	}
	t.Fatal("redis did not start")
	return ""
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestThreeTiers(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := settings{redis: startRedis(t, "s3cret"), passwordFile: secret, password: "s3cret", greeting: "Hello", version: "v1", host: "h"}
	b := newBackend(s, quiet())
	if err := b.ready(t.Context()); err != nil {
		t.Fatalf("not ready: %v", err)
	}
	back := httptest.NewServer(withProbes(t.Context(), b, s))
	defer back.Close()
	s.backend = back.URL
	f, err := newFrontend(s, quiet())
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(withProbes(t.Context(), f, s))
	defer front.Close()

	for _, step := range []struct {
		method, path, body string
		status             int
		answer             string
	}{
		{"GET", "/", "", 200, "version v1"},
		{"GET", "/readyz", "", 200, "ok"},
		{"GET", "/api/todos", "", 200, "[]"},
		{"POST", "/api/todos", `{"title":" milk "}`, 200, `{"id":1,"title":"milk","done":false}`},
		{"POST", "/api/todos", `{"title":"bread"}`, 200, `"id":2`},
		{"POST", "/api/todos", `{"title":""}`, 400, "title"},
		{"POST", "/api/todos", `nonsense`, 400, "body"},
		{"POST", "/api/todos/2/done", "", 200, `"done":true`},
		{"POST", "/api/todos/9/done", "", 404, "no todo 9"},
		{"DELETE", "/api/todos/1", "", 200, `{"deleted":1}`},
		{"DELETE", "/api/todos/1", "", 404, "no todo 1"},
		{"GET", "/api/todos", "", 200, `[{"id":2,"title":"bread","done":true}]`},
		{"GET", "/api/info", "", 200, `"secretsAgree":true`},
		{"GET", "/nothing", "", 404, ""},
	} {
		req, err := http.NewRequest(step.method, front.URL+step.path, strings.NewReader(step.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != step.status || !strings.Contains(string(body), step.answer) {
			t.Errorf("%s %s: %d %s, want %d with %q", step.method, step.path, resp.StatusCode, body, step.status, step.answer)
		}
	}
}

func TestWrongPasswordIsNotReady(t *testing.T) {
	b := newBackend(settings{redis: startRedis(t, "right"), password: "wrong"}, quiet())
	if err := b.ready(t.Context()); !errors.As(err, new(refusal)) {
		t.Errorf("ready: %v, want Redis's refusal", err)
	}
}

func TestRedisComesBack(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // answers one request on each connection and hangs up
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 100))
			_, _ = c.Write([]byte("+PONG\r\n"))
			c.Close()
		}
	}()
	d := newRedis(l.Addr().String(), func() (string, error) { return "", nil })
	for i := range 5 {
		if v, err := d.do(t.Context(), "PING"); v != "PONG" || err != nil {
			t.Errorf("ping %d: %v, %v", i, v, err)
		}
	}
}

func TestReplies(t *testing.T) {
	for wire, want := range map[string]string{
		"+OK\r\n":                           `"OK"`,
		":42\r\n":                           `42`,
		"$-1\r\n":                           `null`,
		"$3\r\na\r\n\r\n":                   `"a\r\n"`,
		"*2\r\n$1\r\na\r\n:1\r\n":           `["a",1]`,
		"-ERR no\r\n":                       `error`,
		"$99999999999\r\n":                  `error`,
		"$5\r\nab":                          `error`,
		"?\r\n":                             `error`,
		"*1\r\n*1\r\n*1\r\n*1\r\n+deep\r\n": `error`,
	} {
		v, err := reply(bufio.NewReader(strings.NewReader(wire)), 0)
		got := "error"
		if err == nil {
			b, _ := json.Marshal(v)
			got = string(b)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", wire, got, want)
		}
	}
}

// Told to stop, a tier first fails readiness while it still answers.
func TestReadinessFailsBeforeTheDoorCloses(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := settings{}
	f, err := newFrontend(s, quiet())
	if err != nil {
		t.Fatal(err)
	}
	h := withProbes(ctx, f, s)
	status := func(path string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code
	}
	cancel()
	if got := fmt.Sprint(status("/readyz"), status("/healthz"), status("/")); got != "503 200 200" {
		t.Errorf("ready, healthy, page: %s", got)
	}
}

func TestServeDrains(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f, err := newFrontend(settings{}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	const drain = 50 * time.Millisecond
	done := make(chan error, 1)
	cancel()
	start := time.Now()
	go func() { done <- serve(ctx, settings{listen: "127.0.0.1:0", drain: drain}, f, quiet()) }()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took < drain {
		t.Errorf("left after %s, want to serve on for %s", took, drain)
	}
}
