package streaming

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"time"

	"github.com/vishvananda/netns"
)

const dialTimeout = 5 * time.Second

// forwarder carries connections to ports of pods, also to those that listen on the pod's loopback only.
type forwarder struct {
	pods      Pods
	namespace string
}

// PortForward copies between the stream and the port until either side is finished.
func (f forwarder) PortForward(ctx context.Context, pod, _ string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	pid, err := f.pods.Sandbox(f.namespace, pod)
	if err != nil {
		return err
	}
	conn, err := dialIn(ctx, pid, net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		return fmt.Errorf("forward to port %d of pod %s/%s: %w", port, f.namespace, pod, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	go func() {
		_, _ = io.Copy(conn, stream)
		if c, ok := conn.(*net.TCPConn); ok {
			_ = c.CloseWrite()
		}
	}()
	if _, err := io.Copy(stream, conn); err != nil && ctx.Err() == nil {
		return fmt.Errorf("forward to port %d of pod %s/%s: %w", port, f.namespace, pod, err)
	}
	return nil
}

// dialIn connects from within the network namespace of a process. The thread that entered it is given up when it can't
// be brought back.
func dialIn(ctx context.Context, pid int, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer home.Close()
	inside, err := netns.GetFromPid(pid)
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer inside.Close()
	if err := netns.Set(inside); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", addr)
	if back := netns.Set(home); back != nil {
		return nil, fmt.Errorf("leave the pod's network: %w", back)
	}
	runtime.UnlockOSThread()
	return conn, err
}
