package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/orpheus-mesh/orpheus/node/agent"
	"github.com/orpheus-mesh/orpheus/node/docker"
	"github.com/orpheus-mesh/orpheus/node/docker/enginetest"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Isolate(m.Run)) }

const (
	nodeName = "host-1"
	busybox  = "busybox:test"
)

var gateway = netip.MustParseAddr("169.254.1.1")

// wires is a network of veths in this process's own namespace.
type wires struct {
	mu    sync.Mutex
	addrs map[string]netip.Addr
	next  byte
}

func newWires() *wires { return &wires{addrs: map[string]netip.Addr{}, next: 10} }

func (n *wires) Assign(uid string) (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.addrs[uid]; !ok {
		n.next++
		n.addrs[uid] = netip.AddrFrom4([4]byte{10, 32, 7, n.next})
	}
	return n.addrs[uid], nil
}

func (n *wires) Adopt(uid string, a netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs[uid] = a
	n.next = max(n.next, a.As4()[3])
	return nil
}

func (n *wires) Release(uid string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.addrs, uid)
}

func veth(a netip.Addr) string { return fmt.Sprintf("t%d", a.As4()[3]) }

func (n *wires) Attach(_ context.Context, at agent.Attachment) error {
	if _, err := netlink.LinkByName(veth(at.Addr)); err == nil {
		return nil
	}
	ns, err := netns.GetFromPid(at.PID)
	if err != nil {
		return err
	}
	defer ns.Close()
	host := func(a netip.Addr) *net.IPNet { return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)} }
	out := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: veth(at.Addr)}, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns)}
	if err := netlink.LinkAdd(out); err != nil {
		return err
	}
	in, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer in.Close()
	lo, err1 := in.LinkByName("lo")
	eth, err2 := in.LinkByName("eth0")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	return errors.Join(netlink.LinkSetUp(out), netlink.AddrAdd(out, &netlink.Addr{IPNet: host(gateway)}),
		netlink.RouteAdd(&netlink.Route{LinkIndex: out.Attrs().Index, Dst: host(at.Addr), Scope: netlink.SCOPE_LINK}),
		in.LinkSetUp(lo), in.LinkSetUp(eth), in.AddrAdd(eth, &netlink.Addr{IPNet: host(at.Addr)}),
		in.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Dst: host(gateway), Scope: netlink.SCOPE_LINK}))
}

func (n *wires) Detach(_ context.Context, uid string) error {
	n.mu.Lock()
	a, ok := n.addrs[uid]
	n.mu.Unlock()
	if !ok {
		return nil
	}
	if l, err := netlink.LinkByName(veth(a)); err == nil {
		return netlink.LinkDel(l)
	}
	return nil
}

// shelf gives the images that the engine has, and none else.
type shelf struct{ *enginetest.Engine }

func (s shelf) Ensure(ctx context.Context, ref string, _ v1.PullPolicy, _ string) (string, error) {
	img, err := s.Image(ctx, ref)
	return img.ID, err
}

func (s shelf) Known(ctx context.Context, ref string) string {
	img, _ := s.Image(ctx, ref)
	return img.ID
}

// bench is one host with a real engine and an API in memory.
type bench struct {
	t      *testing.T
	engine *enginetest.Engine
	api    *fake.Clientset
	net    *wires
	dir    string
	log    *syncBuffer
	agent  *agent.Agent
	stop   func()
	uids   int
	writes sync.Mutex // one write to a pod at a time
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, engine: enginetest.Start(t), api: fake.NewClientset(), net: newWires(), dir: t.TempDir(), log: &syncBuffer{}}
	b.engine.Busybox(t, busybox)
	b.api.PrependReactor("create", "serviceaccounts", func(a clienttesting.Action) (bool, runtime.Object, error) {
		return a.GetSubresource() == "token", &authv1.TokenRequest{Status: authv1.TokenRequestStatus{Token: "signed",
			ExpirationTimestamp: metav1.NewTime(time.Now().Add(time.Hour))}}, nil
	})
	b.api.PrependReactor("update", "pods", b.statusOnly)
	b.start()
	t.Cleanup(func() {
		b.stop()
		if t.Failed() {
			t.Log("agent said:\n", b.log.String())
			evs, _ := b.api.CoreV1().Events("").List(context.Background(), metav1.ListOptions{})
			for _, e := range evs.Items {
				t.Log("event:", e.InvolvedObject.Name, e.Type, e.Reason, e.Message)
			}
		}
	})
	return b
}

// statusOnly keeps a write to a pod's status from writing anything else, as a real API does.
func (b *bench) statusOnly(a clienttesting.Action) (bool, runtime.Object, error) {
	u, ok := a.(clienttesting.UpdateAction)
	if !ok || a.GetSubresource() != "status" {
		return false, nil, nil
	}
	b.writes.Lock()
	defer b.writes.Unlock()
	sent := u.GetObject().(*v1.Pod)
	have, err := b.api.Tracker().Get(a.GetResource(), a.GetNamespace(), sent.Name)
	if err != nil {
		return true, nil, err
	}
	pod := have.(*v1.Pod).DeepCopy()
	pod.Status = sent.Status
	return true, pod, b.api.Tracker().Update(a.GetResource(), pod, a.GetNamespace())
}

// start begins a life of the daemon.
func (b *bench) start() {
	b.t.Helper()
	a, err := agent.New(agent.Config{API: b.api, Docker: b.engine.Engine, Net: b.net, Images: shelf{b.engine}, NodeName: nodeName,
		Addr: netip.MustParseAddr("127.0.0.1"), Dir: b.dir, Log: slog.New(slog.NewTextHandler(b.log, nil))})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- a.Run(ctx) }()
	b.agent = a
	b.stop = func() {
		cancel()
		if err := <-over; err != nil {
			b.t.Error(err)
		}
		b.stop = func() {}
	}
	select {
	case <-a.Ready():
	case <-time.After(20 * time.Second):
		b.t.Fatal("agent is not ready: ", b.log.String())
	}
}

// pod makes a pod as the API would hand it out, bound to this host.
func (b *bench) pod(name string, spec v1.PodSpec) *v1.Pod {
	b.t.Helper()
	b.uids++
	spec.NodeName = nodeName
	if spec.RestartPolicy == "" {
		spec.RestartPolicy = v1.RestartPolicyAlways
	}
	if spec.TerminationGracePeriodSeconds == nil {
		one := int64(1)
		spec.TerminationGracePeriodSeconds = &one
	}
	for _, list := range [][]v1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			c := &list[i]
			c.Image, c.ImagePullPolicy = busybox, v1.PullIfNotPresent
			if c.TerminationMessagePath == "" {
				c.TerminationMessagePath = v1.TerminationMessagePathDefault
			}
			for _, p := range []*v1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
				if p != nil {
					p.SuccessThreshold = max(p.SuccessThreshold, 1)
					p.FailureThreshold = max(p.FailureThreshold, 1)
				}
			}
		}
	}
	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(fmt.Sprintf("uid-%s-%d", name, b.uids)), Generation: 1}, Spec: spec}
	p, err := b.api.CoreV1().Pods("ns").Create(b.t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

// delete asks for a graceful end, as the API's registry would write it down. It goes to the tracker itself: the fake client
// calls statusOnly with its own lock held.
func (b *bench) delete(name string, grace int64) {
	b.t.Helper()
	b.writes.Lock()
	defer b.writes.Unlock()
	pods := v1.SchemeGroupVersion.WithResource("pods")
	have, err := b.api.Tracker().Get(pods, "ns", name)
	if err != nil {
		b.t.Fatal(err)
	}
	p := have.(*v1.Pod).DeepCopy()
	now := metav1.NewTime(time.Now().Add(time.Duration(grace) * time.Second))
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &now, &grace
	if err := b.api.Tracker().Update(pods, p, "ns"); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) get(name string) *v1.Pod {
	b.t.Helper()
	p, err := b.api.CoreV1().Pods("ns").Get(b.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

// soon is for what must happen, and is hardly ever waited for in full: on a machine that starves its engine 15 s were not enough.
const soon = time.Minute

// until polls what the outside world can see; the agent itself works by events.
func (b *bench) until(what string, within time.Duration, ok func() bool) {
	b.t.Helper()
	end := time.Now().Add(within)
	for !ok() {
		if time.Now().After(end) {
			b.t.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (b *bench) untilPod(name, what string, within time.Duration, ok func(p *v1.Pod) bool) *v1.Pod {
	b.t.Helper()
	var last *v1.Pod
	end := time.Now().Add(within)
	for {
		p, err := b.api.CoreV1().Pods("ns").Get(b.t.Context(), name, metav1.GetOptions{})
		if err == nil {
			last = p
			if ok(p) {
				return p
			}
		}
		if time.Now().After(end) {
			b.t.Fatalf("pod %s not within %s: %s\nit is %s", name, within, what, describe(last))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func describe(p *v1.Pod) string {
	if p == nil {
		return "not there"
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%s %s %s\n", p.Status.Phase, p.Status.Reason, p.Status.Message)
	for _, c := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
		fmt.Fprintf(&s, "  %s ready=%v restarts=%d state=%s last=%s\n", c.Name, c.Ready, c.RestartCount, c.State.String(), c.LastTerminationState.String())
	}
	for _, c := range p.Status.Conditions {
		fmt.Fprintf(&s, "  %s=%s %s %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	return s.String()
}

func (b *bench) containers(labels ...string) []docker.Container {
	b.t.Helper()
	all, err := b.engine.List(b.t.Context(), nil, labels...)
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

func (b *bench) exec(pod, container string, cmd ...string) string {
	b.t.Helper()
	t, err := b.agent.Running("ns", pod, container)
	if err != nil {
		b.t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := b.engine.Exec(b.t.Context(), t.ID, cmd, docker.Streams{Out: &out, Err: &out}); err != nil {
		b.t.Fatal(err)
	}
	return out.String()
}

func (b *bench) logs(pod, container string, previous bool) string {
	b.t.Helper()
	t, err := b.agent.Logged("ns", pod, container, previous)
	if err != nil {
		b.t.Fatal(err)
	}
	var out bytes.Buffer
	if err := b.engine.Logs(b.t.Context(), t.ID, docker.LogOptions{Tail: -1}, &out, &out); err != nil {
		b.t.Fatal(err)
	}
	return out.String()
}

func ready(p *v1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == v1.PodReady {
			return c.Status == v1.ConditionTrue
		}
	}
	return false
}

func sh(script string) []string { return []string{"sh", "-c", script} }

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
