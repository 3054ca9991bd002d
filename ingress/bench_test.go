package ingress

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The benchmark's backend and proxy are processes of their own, so that the CPU of the proxy alone can be told.

const benchRole = "INGRESS_BENCH_ROLE"

func TestMain(m *testing.M) {
	role := os.Getenv(benchRole)
	if role == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if err := play(role); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func play(role string) error {
	in := bufio.NewReader(os.Stdin)
	size, backend, proxied := strings.Cut(role, "@")
	if !proxied {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		body := []byte(strings.Repeat("x", map[string]int{"small": 128, "large": 128 << 10}[size]))
		go func() {
			_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(body) }))
		}()
		fmt.Println(l.Addr())
		_, _ = in.ReadString('\n')
		return nil
	}
	p := New(Config{HTTP: "127.0.0.1:0"})
	t, _ := Compile([]Rule{{Name: "bench", Backend: Backend{Name: "bench", Endpoints: []netip.AddrPort{netip.MustParseAddrPort(backend)}}}}, nil, nil)
	p.Set(t)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	plain, _ := p.Listening()
	<-plain
	addr, _ := p.Addrs()
	fmt.Println(addr)
	_, _ = in.ReadString('\n')
	stop()
	return <-ended
}

// actor starts a process in a role; end returns the CPU that it took.
func actor(b *testing.B, role string) (addr string, end func() time.Duration) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	if backend, ok := strings.CutPrefix(role, "nginx@"); ok {
		return nginx(b, backend)
	}
	cmd.Env = append(os.Environ(), benchRole+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	addr, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(addr), func() time.Duration {
		in.Close()
		_ = cmd.Wait()
		u := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
}

// nginx starts the one of INGRESS_BENCH_NGINX (a path) with connections to the backend kept alive, to compare with.
func nginx(b *testing.B, backend string) (addr string, end func() time.Duration) {
	dir := b.TempDir()
	addr = closedPort(b).String()
	conf := fmt.Sprintf(`daemon off; worker_processes 2; pid %[1]s/pid; error_log %[1]s/error;
events { worker_connections 1024; }
http { access_log off; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
	upstream u { server %[2]s; keepalive 256; } keepalive_requests 1000000;
	server { listen %[3]s; location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
		proxy_set_header X-Forwarded-For $remote_addr; } } }`, dir, backend, addr)
	if err := os.WriteFile(dir+"/conf", []byte(conf), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Getenv("INGRESS_BENCH_NGINX"), "-p", dir, "-c", dir+"/conf", "-e", dir+"/error")
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < soon; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			break
		}
	}
	return addr, func() time.Duration {
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		_ = cmd.Wait()
		u := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
}

// load sends n requests over 16 keep-alive connections.
func load(b *testing.B, addr string, n int) {
	tr := &http.Transport{MaxIdleConnsPerHost: 16, MaxConnsPerHost: 16}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr, Timeout: soon}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range (n + i) / 16 {
				resp, err := c.Get("http://" + addr + "/")
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	wg.Wait()
}

func BenchmarkProxy(b *testing.B) {
	for _, size := range []string{"small", "large"} {
		for _, way := range []string{"direct", "proxied", "nginx"} {
			b.Run(size+"/"+way, func(b *testing.B) {
				addr, end := actor(b, size)
				defer end()
				if way == "nginx" && os.Getenv("INGRESS_BENCH_NGINX") == "" {
					b.Skip("INGRESS_BENCH_NGINX names none")
				}
				if way != "direct" {
					through, endProxy := actor(b, map[string]string{"proxied": size, "nginx": "nginx"}[way]+"@"+addr)
					addr = through
					defer func() { b.ReportMetric(float64(endProxy().Microseconds())/float64(b.N), "proxy-cpu-µs/op") }()
				}
				b.ResetTimer()
				load(b, addr, b.N)
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
			})
		}
	}
}
