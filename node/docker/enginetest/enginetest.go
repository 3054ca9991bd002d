// Package enginetest gives tests a real Docker Engine of their own, in a network namespace of their own.
package enginetest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-mesh/orpheus/node/docker"
)

const insideEnv = "ORPHEUS_TEST_NETNS"

// Isolate runs the tests in a child of this process that has a network namespace of its own, and gives its exit code. Call
// it first in TestMain, around m.Run.
func Isolate(run func() int) int {
	if os.Getenv(insideEnv) != "" || os.Getuid() != 0 {
		if lo, err := netlink.LinkByName("lo"); err == nil {
			_ = netlink.LinkSetUp(lo)
		}
		return run()
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintln(os.Stderr, "isolate tests:", err)
		return 2
	}
	return 0
}

// Engine is a running dockerd.
type Engine struct {
	*docker.Engine
	Host string // its socket, as docker.New takes it
	dir  string
	cmd  *exec.Cmd
}

// Start starts an engine that ends with the test, or skips the test where there is no dockerd.
func Start(t testing.TB) *Engine {
	t.Helper()
	if _, err := exec.LookPath("dockerd"); err != nil {
		t.Skip("no dockerd here: ", err)
	}
	if os.Getuid() != 0 {
		t.Skip("a Docker Engine of its own needs root")
	}
	dir, err := os.MkdirTemp("/tmp", "orpheus-engine-")
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{dir: dir, Host: "unix://" + dir + "/docker.sock"}
	t.Cleanup(func() { e.cleanup(t) })
	e.Boot(t)
	return e
}

// Boot starts dockerd (again) over the same data.
func (e *Engine) Boot(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(e.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	e.cmd = exec.Command("dockerd", "--data-root", e.dir+"/data", "--exec-root", e.dir+"/exec", "-H", e.Host, "--pidfile", e.dir+"/pid",
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--userland-proxy=false", "--live-restore")
	e.cmd.Stdout, e.cmd.Stderr = log, log
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if e.Engine, err = docker.New(e.Host); err != nil {
		t.Fatal(err)
	}
	ready := time.Now().Add(30 * time.Second)
	for e.Ping(context.Background()) != nil {
		if time.Now().After(ready) {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("dockerd did not come up:\n%s", text)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Stop ends dockerd and leaves its containers running.
func (e *Engine) Stop(t testing.TB) {
	t.Helper()
	_ = e.Close()
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return
	}
	_ = e.cmd.Wait()
}

func (e *Engine) cleanup(t testing.TB) {
	if e.cmd != nil && e.Engine != nil {
		all, _ := e.Client().ContainerList(context.Background(), client.ContainerListOptions{All: true})
		for _, c := range all.Items {
			_ = e.Remove(context.Background(), c.ID)
		}
		e.Stop(t)
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	lines := strings.Split(string(mounts), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if f := strings.Fields(lines[i]); len(f) > 1 && strings.HasPrefix(f[1], e.dir+"/") {
			_ = unix.Unmount(f[1], unix.MNT_DETACH)
		}
	}
	if err := os.RemoveAll(e.dir); err != nil {
		t.Log("left behind: ", err)
	}
}

// Busybox imports Debian's static busybox as image ref with all its applets, and skips the test where there is none.
func (e *Engine) Busybox(t testing.TB, ref string) {
	t.Helper()
	exe, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("no static busybox here: ", err)
	}
	list, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	put := func(h tar.Header, body []byte) {
		h.Size = int64(len(body))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(body)
	}
	for _, d := range []string{"bin/", "etc/", "tmp/", "var/", "root/"} {
		put(tar.Header{Name: d, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	put(tar.Header{Name: "bin/busybox", Mode: 0o755}, exe)
	put(tar.Header{Name: "etc/passwd", Mode: 0o644}, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"))
	put(tar.Header{Name: "etc/group", Mode: 0o644}, []byte("root:x:0:\nnogroup:x:65534:\n"))
	for _, applet := range strings.Fields(string(list)) {
		if applet != "busybox" {
			put(tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	res, err := e.Client().ImageImport(context.Background(), client.ImageImportSource{Source: &b, SourceName: "-"}, ref,
		client.ImageImportOptions{Changes: []string{`CMD ["/bin/sh"]`, `ENV PATH=/bin`}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	if _, err := io.Copy(io.Discard, res); err != nil {
		t.Fatal(err)
	}
}
