package sockets

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

const soon = 20 * time.Second // for what must happen; never waited for in full

// TestMain is also the programs of the tests with processes: the first image opens sockets and becomes the second; one stays, starts an
// heir as its child, and that the last one.
func TestMain(m *testing.M) {
	switch os.Getenv("SOCKETS_TEST") {
	case "first":
		ended(first())
	case "second":
		ended(second())
	case "stays", "heir", "last":
		ended(stays(os.Getenv("SOCKETS_TEST")))
	}
	goleak.VerifyTestMain(m)
}

func ended(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// first opens one socket of each kind and something that must not be passed on, tells where, and waits for the word to go on.
func first() error {
	k, err := Inherit()
	if err != nil {
		return err
	}
	ctx := context.Background()
	tcp, err := k.Listen(ctx, &net.ListenConfig{}, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	udp, err := k.ListenPacket(ctx, &net.ListenConfig{}, "udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	leak, err := unix.Open("/dev/null", unix.O_RDONLY, 0) // as a library would that knows no close-on-exec
	if err != nil || leak < 3 {
		return fmt.Errorf("descriptor %d: %w", leak, err)
	}
	tcp.Close()
	udp.Close()
	if err := k.Exec("/nonexistent", []string{"x"}, nil); err == nil {
		return fmt.Errorf("became nothing")
	}
	fmt.Println(tcp.Addr(), udp.LocalAddr(), os.Getpid())
	if _, err := fmt.Scanln(); err != nil {
		return err
	}
	env := []string{"SOCKETS_TEST=second", "SOCKETS_TCP=" + tcp.Addr().String(), "SOCKETS_UDP=" + udp.LocalAddr().String()}
	k.Bequeath([]byte("remember me"))
	return k.Exec("/proc/self/exe", os.Args, env)
}

// second answers who waited while there was nobody.
func second() error {
	k, err := Inherit()
	if err != nil {
		return err
	}
	names, err := descriptors()
	if err != nil {
		return err
	}
	if strings.Contains(names, "/dev/null") || strings.Count(names, "socket:") != 2 {
		return fmt.Errorf("inherited %s", names)
	}
	if will := string(k.Will()); will != "remember me" {
		return fmt.Errorf("the will says %q", will)
	}
	if os.Getenv(Variable) != "" {
		return fmt.Errorf("%s is still set: children would take descriptors for theirs", Variable)
	}
	ctx := context.Background()
	udp, err := k.ListenPacket(ctx, &net.ListenConfig{}, "udp", os.Getenv("SOCKETS_UDP"))
	if err != nil {
		return err
	}
	b := make([]byte, 16)
	n, from, err := udp.ReadFrom(b)
	if err != nil {
		return err
	}
	if _, err := udp.WriteTo(b[:n], from); err != nil {
		return err
	}
	tcp, err := k.Listen(ctx, &net.ListenConfig{}, "tcp", os.Getenv("SOCKETS_TCP"))
	if err != nil {
		return err
	}
	c, err := tcp.Accept()
	if err != nil {
		return err
	}
	fmt.Fprintf(c, "%d sockets, process %d\n", k.Len(), os.Getpid())
	return c.Close()
}

// descriptors are those above the standard streams.
func descriptors() (string, error) {
	all, err := os.ReadDir("/proc/self/fd")
	var names []string
	for _, e := range all {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && (len(e.Name()) > 1 || e.Name() > "2") {
			names = append(names, to)
		}
	}
	return strings.Join(names, " "), err
}

// began is this test's binary as an image that plays a role, for at most 2*soon.
func began(t *testing.T, role string) (cmd *exec.Cmd, in io.Writer, said *bufio.Reader) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*soon)
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "SOCKETS_TEST="+role)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, in, bufio.NewReader(out)
}

func TestWhoComesBetweenTwoImagesIsServedByTheSecond(t *testing.T) {
	cmd, in, said := began(t, "first")
	line, _ := said.ReadString('\n')
	var tcp, udp string
	var pid int
	if n, err := fmt.Sscan(line, &tcp, &udp, &pid); n != 3 {
		t.Fatalf("the first image said %q: %v", line, err)
	}
	waiting, err := net.Dial("tcp", tcp) // nobody accepts: the first image has closed its listener
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	question, err := net.Dial("udp", udp)
	if err != nil {
		t.Fatal(err)
	}
	defer question.Close()
	fmt.Fprint(question, "who?")
	fmt.Fprintln(in)
	for _, c := range []net.Conn{question, waiting} {
		_ = c.SetDeadline(time.Now().Add(soon))
	}
	b := make([]byte, 16)
	if n, err := question.Read(b); err != nil || string(b[:n]) != "who?" {
		t.Errorf("question: %q, %v", b[:n], err)
	}
	answer, err := io.ReadAll(waiting)
	if want := fmt.Sprintf("2 sockets, process %d\n", pid); err != nil || string(answer) != want {
		t.Errorf("connection: %q, %v; want %q", answer, err, want)
	}
	rest, _ := io.ReadAll(said)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, rest)
	}
}

func TestAListenerComesBackAfterItWasClosed(t *testing.T) {
	var k Keeper
	defer k.Close()
	l, err := k.Listen(t.Context(), &net.ListenConfig{}, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if l, err = k.Listen(t.Context(), &net.ListenConfig{}, "tcp", addr); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	got.Close()
	if k.Len() != 1 {
		t.Errorf("%d sockets are held, want 1", k.Len())
	}
}

func TestWhatIsNotWantedIsClosed(t *testing.T) {
	var k Keeper
	defer k.Close()
	var addrs []string
	for range 2 {
		l, err := k.Listen(t.Context(), &net.ListenConfig{}, "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, l.Addr().String())
		l.Close()
	}
	closed := k.Retain(Address{Addr: addrs[0]}, Address{Packet: true, Addr: addrs[1]})
	if len(closed) != 1 || closed[0].Addr != addrs[1] {
		t.Errorf("closed %v, want %s", closed, addrs[1])
	}
	if c, err := net.Dial("tcp", addrs[1]); err == nil {
		c.Close()
		t.Error("a socket that nobody wants still takes connections")
	}
	k.Close()
	if c, err := net.Dial("tcp", addrs[0]); err == nil {
		c.Close()
		t.Error("a keeper that let go still takes connections")
	}
}

func TestFits(t *testing.T) {
	for _, c := range []struct {
		have, want Address
		fits       bool
	}{
		{Address{false, "0.0.0.0:80"}, Address{false, "0.0.0.0:80"}, true},
		{Address{false, "[::]:80"}, Address{false, "0.0.0.0:80"}, true},
		{Address{false, "0.0.0.0:80"}, Address{false, ":80"}, true},
		{Address{false, "0.0.0.0:80"}, Address{false, "0.0.0.0:8080"}, false},
		{Address{false, "0.0.0.0:80"}, Address{false, "10.0.0.1:80"}, false},
		{Address{false, "10.0.0.1:80"}, Address{false, "0.0.0.0:80"}, false},
		{Address{true, "169.254.1.1:53"}, Address{true, "169.254.1.1:53"}, true},
		{Address{true, "169.254.1.1:53"}, Address{false, "169.254.1.1:53"}, false},
		{Address{false, "127.0.0.1:80"}, Address{false, ""}, false},
		{Address{false, "127.0.0.1:80"}, Address{false, "127.0.0.1:0"}, false},
	} {
		if got := c.have.fits(c.want); got != c.fits {
			t.Errorf("%v for %v: %v, want %v", c.have, c.want, got, c.fits)
		}
	}
}

func TestVariablesOfOthersAreNotOurs(t *testing.T) {
	for _, text := range []string{"", "7:", "8:3:4", "nonsense"} {
		if d, err := inherited(text, 7); err != nil || d.sockets != nil || d.will != nil || d.elders != nil {
			t.Errorf("%q: %v, %v", text, d, err)
		}
	}
	for _, text := range []string{"7:x:900", "7:1:900", "7:900,:900", "7", "7::x", "7:::x", "0:x"} {
		if _, err := inherited(text, 7); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
