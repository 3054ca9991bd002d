package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"

	"github.com/vishvananda/netns"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Outside dials as the lab's client does, who is on no host: from the network namespace of "client".
func (m *Mesh) Outside() (func(ctx context.Context, network, addr string) (net.Conn, error), error) {
	host, err := m.Bed.Hosts()
	if err != nil {
		return nil, fmt.Errorf("find the hosts of the lab: %w", err)
	}
	if len(host) == 0 {
		return nil, errors.New("no lab is up")
	}
	ns, err := netns.GetFromName(m.Bed.ClientNamespace())
	if err != nil {
		return nil, fmt.Errorf("find the client's network: %w", err)
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		return dialIn(ctx, ns, network, addr)
	}, nil
}

// dialIn opens the connection on a thread that has moved to ns for the moment; the socket stays there.
func dialIn(ctx context.Context, ns netns.NsHandle, network, addr string) (net.Conn, error) {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer home.Close()
	if err := netns.Set(ns); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if back := netns.Set(home); back != nil {
		return nil, fmt.Errorf("return from the client's network: %w", back) // the thread stays locked and dies with its goroutine
	}
	runtime.UnlockOSThread()
	return c, err
}

// REST is the configuration of an outside client of the API of one host, as cluster-admin.
func (m *Mesh) REST(ctx context.Context, host string) (*rest.Config, error) {
	h, err := m.Bed.Host(host)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := m.Orpheus(ctx, host, nil, "kubeconfig", "--server", "https://"+h.Addr.String()+":6443")
	if err != nil {
		return nil, err
	}
	cfg, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	cfg.QPS = -1
	cfg.Dial, err = m.Outside()
	return cfg, err
}

// Client is an outside client of the API of one host.
func (m *Mesh) Client(ctx context.Context, host string) (*kubernetes.Clientset, error) {
	cfg, err := m.REST(ctx, host)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(cfg)
}
