package binder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"github.com/orpheus-mesh/orpheus/placement"
)

func TestMain(m *testing.M) {
	utilruntime.ErrorHandlers = utilruntime.ErrorHandlers[:1] // the others sleep by a clock of the process
	os.Exit(m.Run())
}

// stand is a binder before a fake API and hosts that admit what they are told to.
type stand struct {
	t   *testing.T
	api *fake.Clientset
	b   *Binder

	mu      sync.Mutex
	decline map[string]string // by host
	silent  map[string]bool
	unsure  bool // nobody is preempted
	mine    func(name string) bool
	asked   []string
	bound   map[string]string
	places  int
	volumes []string      // hosts that can mount what any pod wants
	lack    string        // what all pods lack
	moved   chan struct{} // a wake after volumes changed
	stop    func()
}

func newStand(t *testing.T, objects ...runtime.Object) *stand {
	return newStandWith(t, func(*Config) {}, objects...)
}

func newStandWith(t *testing.T, tune func(*Config), objects ...runtime.Object) *stand {
	s := &stand{t: t, api: fake.NewClientset(objects...), decline: map[string]string{}, silent: map[string]bool{}, bound: map[string]string{},
		mine: func(string) bool { return true }, moved: make(chan struct{}, 1)}
	s.api.PrependReactor("create", "pods", s.bind)
	c := Config{
		Client: &rest.Config{}, Changed: make(chan struct{}), Admit: s.admit, Log: slog.New(slog.DiscardHandler),
		Mine:    func(_, _, name string) bool { s.mu.Lock(); defer s.mu.Unlock(); return s.mine(name) },
		Volumes: func(*corev1.Pod) []string { s.mu.Lock(); defer s.mu.Unlock(); return s.volumes }, VolumesChanged: s.moved,
		Lacks:   func(*corev1.Pod) string { s.mu.Lock(); defer s.mu.Unlock(); return s.lack },
		Preempt: func() bool { s.mu.Lock(); defer s.mu.Unlock(); return !s.unsure },
	}
	tune(&c)
	b, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	b.book.audit = func(v placement.View, o placement.Options, plan placement.Plan) {
		audit(t, v, o, plan)
		s.mu.Lock()
		s.places++
		s.mu.Unlock()
	}
	b.dial = func(*rest.Config) (kubernetes.Interface, error) { return s.api, nil }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	s.b = b
	s.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
	}
	s.settle()
	return s
}

// audit holds a decision against the one that the whole view leads to.
func audit(t testing.TB, v placement.View, o placement.Options, plan placement.Plan) {
	if err := placement.Validate(v); err != nil {
		t.Error(err)
	}
	if got, want := fmt.Sprintf("%+v", plan), fmt.Sprintf("%+v", placement.Place(v, o)); got != want {
		t.Errorf("decided by what changed:\n%s\nby the whole view:\n%s", got, want)
	}
}

func (s *stand) settle() {
	time.Sleep(100 * time.Millisecond)
	synctest.Wait()
}

// bind is what the registry does with a Binding.
func (s *stand) bind(a clienttesting.Action) (bool, runtime.Object, error) {
	if a.GetSubresource() != "binding" {
		return false, nil, nil
	}
	b := a.(clienttesting.CreateAction).GetObject().(*corev1.Binding)
	g := corev1.SchemeGroupVersion.WithResource("pods")
	o, err := s.api.Tracker().Get(g, b.Namespace, b.Name)
	if err != nil {
		return true, nil, err
	}
	p := o.(*corev1.Pod).DeepCopy()
	if p.Spec.NodeName != "" || p.UID != b.UID {
		return true, nil, apierrors.NewConflict(g.GroupResource(), b.Name, errors.New("it is bound"))
	}
	p.Spec.NodeName = b.Target.Name
	s.mu.Lock()
	s.bound[b.Name] = b.Target.Name
	s.mu.Unlock()
	return true, b, s.api.Tracker().Update(g, p, b.Namespace)
}

func (s *stand) admit(ctx context.Context, node string, p *corev1.Pod) (bool, string, error) {
	s.mu.Lock()
	s.asked = append(s.asked, node)
	silent, why := s.silent[node], s.decline[node]
	s.mu.Unlock()
	if silent {
		<-ctx.Done()
		return false, "", ctx.Err()
	}
	return why == "", why, nil
}

// change lets a test change its hosts' minds, and read what they were asked.
func (s *stand) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *stand) create(objects ...runtime.Object) {
	s.t.Helper()
	for i, o := range objects {
		if i%20 == 19 {
			s.settle() // the fake's watches hold 100 events
		}
		if err := s.api.Tracker().Add(o); err != nil {
			s.t.Fatal(err)
		}
	}
	s.settle()
}

func (s *stand) pod(name string) *corev1.Pod {
	s.t.Helper()
	p, err := s.api.CoreV1().Pods("shop").Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *stand) why(name string) string {
	for _, c := range s.pod(name).Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == "Unschedulable" {
			return c.Message
		}
	}
	return ""
}

func (s *stand) events(reason string) (n int) {
	l, err := s.api.CoreV1().Events("").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range l.Items {
		if e.Reason == reason {
			n++
		}
	}
	return n
}

func node(name, cpu string, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{
		Allocatable: corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse("8Gi"), "pods": resource.MustParse("110")},
		Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
	}}
	for _, c := range change {
		c(n)
	}
	return n
}

func pod(name, cpu string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name)},
		Spec: corev1.PodSpec{SchedulerName: "default-scheduler", Containers: []corev1.Container{{Name: "c",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse(cpu)}}}}},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func TestBindsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, node("a", "4"))
		defer func() { s.stop() }()
		began := time.Now()
		s.create(pod("web", "1"))
		if s.bound["web"] != "a" || time.Since(began) > time.Second {
			t.Fatalf("bound %v after %v", s.bound, time.Since(began))
		}
		if s.events("Scheduled") != 1 {
			t.Error("no Scheduled event")
		}
	})
}

func TestLeavesAloneWhatIsNotItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, node("a", "4"))
		defer func() { s.stop() }()
		s.change(func() { s.mine = func(name string) bool { return name != "foreign" } })
		s.create(pod("foreign", "1"),
			pod("gated", "1", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}} }),
			pod("other", "1", func(p *corev1.Pod) { p.Spec.SchedulerName = "mine" }),
			pod("dead", "1", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }))
		if len(s.asked) != 0 {
			t.Errorf("asked %v", s.asked)
		}
	})
}

func TestDeclinedPodGoesToTheNextCandidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, node("a", "4"), node("b", "4"), node("c", "4"))
		defer func() { s.stop() }()
		s.change(func() { s.decline["a"], s.silent["b"] = "its memory is taken", true })
		s.create(pod("web", "1"))
		time.Sleep(admitWithin)
		s.settle()
		if s.bound["web"] != "c" {
			t.Fatalf("bound %v, asked %v", s.bound, s.asked)
		}
		s.change(func() { s.decline["c"], s.silent["b"], s.decline["b"] = "full", false, "full" })
		s.create(pod("next", "1"))
		if why := s.why("next"); !strings.Contains(why, "a declined: its memory is taken") || !strings.Contains(why, "c declined: full") {
			t.Errorf("the pod says %q", why)
		}
		s.change(func() { delete(s.decline, "b") })
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if s.bound["next"] != "b" {
			t.Error("a host that admits again does not get the pod")
		}
	})
}

func TestUnschedulablePodSaysWhyAndWaitsForChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, node("a", "1"), node("b", "1"),
			node("c", "8", func(n *corev1.Node) {
				n.Spec.Taints = []corev1.Taint{{Key: "k", Value: "v", Effect: corev1.TaintEffectNoSchedule}}
			}),
			node("d", "8", func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown }),
			node("e", "8", func(n *corev1.Node) { n.Spec.Unschedulable = true }))
		defer func() { s.stop() }()
		s.create(pod("big", "2"))
		why := s.why("big")
		for _, want := range []string{"0/5 nodes are available: ", "2 Insufficient cpu", "1 node(s) had untolerated taint", "{node.kubernetes.io/unreachable: }", "1 node(s) were unschedulable"} {
			if !strings.Contains(why, want) {
				t.Errorf("%q lacks %q", why, want)
			}
		}
		if strings.Contains(why, "not ready: ") || s.events("FailedScheduling") != 1 {
			t.Errorf("%q, %d events", why, s.events("FailedScheduling"))
		}
		places := s.places
		time.Sleep(2 * time.Minute)
		if s.places != places {
			t.Errorf("%d decisions though nothing changed", s.places-places)
		}
		s.create(node("f", "8"))
		time.Sleep(firstPause)
		synctest.Wait()
		if s.bound["big"] != "f" {
			t.Errorf("bound %v after a node came", s.bound)
		}
	})
}

// A pod whose claim is not there must not be bound: the claim may be bound to another host when it comes.
func TestPodWaitsForWhatItLacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, node("a", "8"), node("b", "8"))
		defer func() { s.stop() }()
		s.change(func() { s.lack = `persistentvolumeclaim "data" not found` })
		s.create(pod("early", "1"))
		time.Sleep(time.Minute)
		if got := s.why("early"); s.bound["early"] != "" || got != `0/2 nodes are available: persistentvolumeclaim "data" not found.` {
			t.Fatalf("it is on %q and told %q", s.bound["early"], got)
		}
		s.change(func() { s.lack, s.volumes = "", []string{"b"} })
		s.moved <- struct{}{}
		time.Sleep(firstPause)
		synctest.Wait()
		if s.bound["early"] != "b" {
			t.Errorf("bound %v after its claim came", s.bound)
		}
	})
}

// A fence lets the claims of a lost server go, which may come after their pod was found to fit nowhere else.
func TestPodIsTriedAnewWhenItsVolumesMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, node("a", "8"))
		defer func() { s.stop() }()
		s.change(func() { s.volumes = []string{"lost"} })
		s.create(pod("pinned", "1"))
		if s.why("pinned") == "" {
			t.Fatal("a pod whose volume is nowhere here is not called unschedulable")
		}
		s.change(func() { s.volumes = nil })
		s.moved <- struct{}{}
		time.Sleep(firstPause)
		synctest.Wait()
		if s.bound["pinned"] != "a" {
			t.Errorf("bound %v after its volume let it go", s.bound)
		}
	})
}

// A binding under way is a claim: the second decision does not take the same room, however slow the first host is.
func TestFlightsAreClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, node("a", "1"))
		defer func() { s.stop() }()
		s.change(func() { s.silent["a"] = true })
		s.create(pod("one", "1"))
		s.create(pod("two", "1"))
		if len(s.asked) != 1 || s.why("two") == "" {
			t.Errorf("asked %v while the first answer is out, two says %q", s.asked, s.why("two"))
		}
	})
}

func TestManyPodsFillExactlyWhatThereIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, node("a", "100"), node("b", "100"), node("c", "100"))
		defer func() { s.stop() }()
		var pods []runtime.Object
		for i := range 330 {
			pods = append(pods, pod(fmt.Sprintf("p%03d", i), "1"))
		}
		s.create(pods...)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		per := map[string]int{}
		for _, h := range s.bound {
			per[h]++
		}
		if per["a"] != 100 || per["b"] != 100 || per["c"] != 100 {
			t.Errorf("bound %v, want 100 on each", per)
		}
	})
}

// BenchmarkOnePod is the own work for one pod among 3,000 on 30 hosts.
func BenchmarkOnePod(b *testing.B) {
	p := newPicture(func() {})
	for i := range 30 {
		p.setNode(node(fmt.Sprintf("n%02d", i), "200"))
	}
	for i := range 3000 {
		q := pod(fmt.Sprintf("p%d", i), "1")
		q.Spec.NodeName = fmt.Sprintf("n%02d", i%30)
		p.setPod(q)
	}
	one := pod("new", "1")
	p.setPod(one)
	for b.Loop() {
		plan := placement.Place(p.view(question{batch: []*corev1.Pod{one}}), placement.Options{})
		if len(plan.Binds) != 1 {
			b.Fatal(plan)
		}
	}
}
