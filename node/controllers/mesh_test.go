package controllers

import (
	"context"
	"hash/fnv"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
)

// Upstream's error handlers remember the time of the last error in a variable of the process: real time, which a virtual
// clock would sleep towards for years.
func TestMain(m *testing.M) {
	utilruntime.ErrorHandlers = utilruntime.ErrorHandlers[:1]
	os.Exit(m.Run())
}

// mesh is several nodes whose replicas are always equal: they share one API. Time is virtual.
type mesh struct {
	*registry
	t   *testing.T
	api *fake.Clientset

	mesh    sync.Mutex // guards down to held
	live    map[string]bool
	state   map[string]HostState
	evicted map[string]bool
	unknown map[string]bool // no server has ever had the name
	unready bool            // Settled
	held    string          // Hold
	slow    bool            // Slow
	changed map[string]chan struct{}
	stop    map[string]func()
	last    *Controllers
}

func newMesh(t *testing.T, nodes ...string) *mesh {
	m := &mesh{t: t, live: map[string]bool{}, state: map[string]HostState{}, evicted: map[string]bool{}, unknown: map[string]bool{}, changed: map[string]chan struct{}{}, stop: map[string]func(){}}
	m.registry, m.api = newRegistry()
	for _, n := range nodes {
		m.live[n] = true
		m.create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n}})
	}
	return m
}

func (m *mesh) create(o object) {
	m.t.Helper()
	ctx := context.Background()
	var err error
	switch o := o.(type) {
	case *corev1.Node:
		_, err = m.api.CoreV1().Nodes().Create(ctx, o, metav1.CreateOptions{})
	case *corev1.Pod:
		_, err = m.api.CoreV1().Pods(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
	default:
		m.t.Fatalf("create %T", o)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// home is rendezvous by the live nodes. The pods and ReplicaSets of a Deployment are told by their names' first word.
func (m *mesh) home(namespace, name string) string {
	m.mesh.Lock()
	defer m.mesh.Unlock()
	root, best, at := name, uint32(0), ""
	for i, c := range name {
		if c == '-' {
			root = name[:i]
			break
		}
	}
	for n := range m.live {
		h := fnv.New32a()
		_, _ = io.WriteString(h, n+"/"+namespace+"/"+root)
		x := h.Sum32()
		x = (x ^ x>>16) * 0x85ebca6b
		x = (x ^ x>>13) * 0xc2b2ae35
		x ^= x >> 16
		if at == "" || x > best || x == best && n > at {
			best, at = x, n
		}
	}
	return at
}

// start runs the named controllers on a node.
func (m *mesh) start(node string, names ...string) {
	m.t.Helper()
	wake := make(chan struct{}, 1)
	m.changed[node] = wake
	c, err := New(Config{
		Client:  &rest.Config{Host: "http://127.0.0.1:1"},
		Mine:    func(_, namespace, name string) bool { return m.home(namespace, name) == node },
		Changed: wake,
		Settled: func() bool { m.mesh.Lock(); defer m.mesh.Unlock(); return !m.unready },
		Hold:    func() (bool, string) { m.mesh.Lock(); defer m.mesh.Unlock(); return m.held != "", m.held },
		Slow:    func() bool { m.mesh.Lock(); defer m.mesh.Unlock(); return m.slow },
		HostState: func(n string) HostState {
			m.mesh.Lock()
			defer m.mesh.Unlock()
			return m.state[n]
		},
		Member: func(n string) (known, evicted bool) {
			m.mesh.Lock()
			defer m.mesh.Unlock()
			return !m.unknown[n], m.evicted[n]
		},
		RootCA: []byte("pem"), Log: slog.New(slog.NewTextHandler(logTo(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", node),
	})
	if err != nil {
		m.t.Fatal(err)
	}
	c.dial = func(*rest.Config) (kubernetes.Interface, error) { return m.api, nil }
	c.roster = nil
	for _, e := range roster() {
		for _, n := range names {
			if e.name == n {
				c.roster = append(c.roster, e)
			}
		}
	}
	if len(c.roster) != len(names) {
		m.t.Fatalf("the roster does not know all of %v", names)
	}
	m.run(node, c)
}

func (m *mesh) run(node string, c *Controllers) {
	m.last = c
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	m.stop[node] = func() {
		cancel()
		if err := <-done; err != nil {
			m.t.Error(err)
		}
	}
	select {
	case <-c.Ready():
	case err := <-done:
		m.t.Fatalf("controllers of %s ended: %v", node, err)
	}
}

// tell changes the mesh and wakes everyone.
func (m *mesh) tell(change func()) {
	m.mesh.Lock()
	change()
	m.mesh.Unlock()
	for _, c := range m.changed {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// lose stops a node and takes it out of the others' membership.
func (m *mesh) lose(node string) {
	m.stop[node]()
	delete(m.stop, node)
	m.tell(func() { delete(m.live, node); m.state[node] = Failed })
}

func (m *mesh) end() {
	for _, stop := range m.stop {
		stop()
	}
	time.Sleep(time.Minute) // upstream's broadcasters and limiters end with their timers
}

// settle lets the virtual time pass that batched and backed-off work needs.
func settle() {
	time.Sleep(20 * time.Second)
	synctest.Wait()
}

func (m *mesh) pods() []corev1.Pod {
	m.t.Helper()
	l, err := m.api.CoreV1().Pods("").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	return l.Items
}

// place binds the pods that have no host, in order, and makes them ready.
func (m *mesh) place(hosts ...string) {
	m.t.Helper()
	ctx := context.Background()
	i := 0
	for _, p := range m.pods() {
		if p.Spec.NodeName != "" {
			continue
		}
		p.Spec.NodeName = hosts[i%len(hosts)]
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
		if _, err := m.api.CoreV1().Pods(p.Namespace).Update(ctx, &p, metav1.UpdateOptions{}); err != nil {
			m.t.Fatal(err)
		}
		i++
	}
	settle()
}

func logTo() io.Writer {
	if os.Getenv("CONTROLLERS_LOG") != "" {
		return os.Stderr
	}
	return io.Discard
}

// clumsy makes a controller that panics whenever it runs.
func clumsy(lives *int) func(context.Context, *stage) (func(context.Context), error) {
	return func(context.Context, *stage) (func(context.Context), error) {
		return func(context.Context) { *lives++; panic("oh") }, nil
	}
}
