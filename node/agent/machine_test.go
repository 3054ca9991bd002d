package agent

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/orpheus-mesh/orpheus/node/docker"
)

// machine is a host of virtual time: fake engine, fake network, API in memory, real agent.
type machine struct {
	t      *testing.T
	engine *fakeEngine
	net    *fakeNet
	api    *fake.Clientset
	dir    string
	agent  *Agent
	stop   func()
	may    bool
	lost   bool // the replica lost what it knew
	dead   types.UID
}

func inMachine(t *testing.T, story func(t *testing.T, m *machine)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{t: t, engine: newFakeEngine(), net: newFakeNet(), api: fake.NewClientset(), dir: dir, may: true}
		m.api.PrependReactor("update", "pods", m.statusOnly)
		m.start()
		defer func() { m.stop() }()
		story(t, m)
	})
}

// statusOnly keeps a write to a pod's status from writing anything else, as a real API does.
func (m *machine) statusOnly(a clienttesting.Action) (bool, runtime.Object, error) {
	u, ok := a.(clienttesting.UpdateAction)
	if !ok || a.GetSubresource() != "status" {
		return false, nil, nil
	}
	sent := u.GetObject().(*v1.Pod)
	have, err := m.api.Tracker().Get(a.GetResource(), a.GetNamespace(), sent.Name)
	if err != nil {
		return true, nil, err
	}
	pod := have.(*v1.Pod).DeepCopy()
	pod.Status = sent.Status
	return true, pod, m.api.Tracker().Update(a.GetResource(), pod, a.GetNamespace())
}

func (m *machine) start() {
	m.t.Helper()
	a, err := New(Config{API: m.api, Docker: m.engine, Net: m.net, Images: m.engine, NodeName: "host", Addr: netip.MustParseAddr("192.0.2.1"),
		Dir: m.dir, MaxPods: 5, MayForget: func() bool { return m.may },
		Rebuilt: func() bool { return m.lost }, Dead: func(uid types.UID) bool { return uid == m.dead }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- a.Run(ctx) }()
	m.agent = a
	m.stop = func() {
		cancel()
		if err := <-over; err != nil {
			m.t.Error(err)
		}
	}
	m.settle(time.Second)
}

// settle lets virtual time pass.
func (m *machine) settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (m *machine) pod(name string, spec v1.PodSpec) *v1.Pod {
	m.t.Helper()
	spec.NodeName = "host"
	if spec.RestartPolicy == "" {
		spec.RestartPolicy = v1.RestartPolicyAlways
	}
	for _, list := range [][]v1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			if list[i].Image == "" {
				list[i].Image = "app"
			}
		}
	}
	p, err := m.api.CoreV1().Pods("ns").Create(m.t.Context(), &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name)}, Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

func (m *machine) delete(name string, grace int64) {
	m.t.Helper()
	p := m.get(name)
	now := metav1.NewTime(time.Now().Add(time.Duration(grace) * time.Second))
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &now, &grace
	if _, err := m.api.CoreV1().Pods("ns").Update(m.t.Context(), p, metav1.UpdateOptions{}); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) get(name string) *v1.Pod {
	m.t.Helper()
	p, err := m.api.CoreV1().Pods("ns").Get(m.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

// told counts the events of a reason about a pod, repetitions included.
func (m *machine) told(name, reason string) (n int32) {
	m.t.Helper()
	all, err := m.api.CoreV1().Events("ns").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	for _, e := range all.Items {
		if e.InvolvedObject.Name == name && e.Reason == reason {
			n += max(e.Count, 1)
		}
	}
	return n
}

func (m *machine) exists(name string) bool {
	_, err := m.api.CoreV1().Pods("ns").Get(m.t.Context(), name, metav1.GetOptions{})
	return err == nil
}

func one(names ...string) v1.PodSpec {
	s := v1.PodSpec{}
	for _, n := range names {
		s.Containers = append(s.Containers, v1.Container{Name: n})
	}
	return s
}

func waitingReason(p *v1.Pod) string {
	if len(p.Status.ContainerStatuses) == 0 || p.Status.ContainerStatuses[0].State.Waiting == nil {
		return ""
	}
	return p.Status.ContainerStatuses[0].State.Waiting.Reason
}

func TestCrashesAreBackedOffAndForgivenAfterTenMinutes(t *testing.T) {
	inMachine(t, func(t *testing.T, m *machine) {
		m.engine.scripts["c"] = script{after: time.Second, code: 1}
		m.pod("p", one("c"))
		// Starts: at once, after the first crash at once, then 10, 20, 40, 80, 160, 300, 300 … s apart.
		for _, step := range []struct {
			pass   time.Duration
			starts int
		}{{4 * time.Second, 2}, {10 * time.Second, 3}, {21 * time.Second, 4}, {41 * time.Second, 5}, {81 * time.Second, 6}, {161 * time.Second, 7}, {301 * time.Second, 8}, {301 * time.Second, 9}} {
			m.settle(step.pass)
			if got := m.engine.starts["c"]; got != step.starts {
				t.Fatalf("%d starts, want %d", got, step.starts)
			}
			if got := waitingReason(m.get("p")); got != "CrashLoopBackOff" {
				t.Errorf("after %d starts: %q", step.starts, got)
			}
		}
		if got := m.told("p", "BackOff"); got != 8 {
			t.Errorf("%d events tell of 8 back-offs", got)
		}
		if got := m.get("p").Status.ContainerStatuses[0].RestartCount; got != 8 {
			t.Errorf("restart count %d", got)
		}
		m.stop()
		m.start() // the back-off outlives the daemon
		m.settle(100 * time.Second)
		if got := m.engine.starts["c"]; got != 9 {
			t.Errorf("a restart of the daemon restarted a container: %d starts", got)
		}
		m.engine.scripts["c"] = script{after: 11 * time.Minute, code: 1}
		m.settle(5 * time.Minute)
		m.engine.scripts["c"] = script{}
		m.settle(11 * time.Minute)
		if got := m.get("p"); got.Status.ContainerStatuses[0].State.Running == nil || m.engine.starts["c"] != 11 {
			t.Errorf("after a long life: %d starts, %+v", m.engine.starts["c"], got.Status.ContainerStatuses[0].State)
		}
	})
}

// Of a want of memory an engine may hear after the container's end: then it tells an event, and its list says nothing.
func TestWordOfAWantOfMemoryMayComeLate(t *testing.T) {
	inMachine(t, func(t *testing.T, m *machine) {
		spec := one("killed", "failed")
		spec.RestartPolicy = v1.RestartPolicyNever
		m.pod("p", spec)
		m.settle(time.Second)
		reasons := func() (out []string) {
			for _, c := range m.get("p").Status.ContainerStatuses {
				if c.State.Terminated != nil {
					out = append(out, c.State.Terminated.Reason)
				}
			}
			return out
		}
		ids := []string{m.engine.find("uid-p", "killed", docker.Running), m.engine.find("uid-p", "failed", docker.Running)}
		m.engine.exit(ids[0], 137)
		m.engine.exit(ids[1], 1)
		m.settle(time.Second)
		if got := reasons(); !slices.Equal(got, []string{"Error", "Error"}) {
			t.Fatalf("before anything is told: %q", got)
		}
		for _, id := range ids {
			m.engine.oom(id)
		}
		m.settle(time.Second)
		if got := reasons(); !slices.Equal(got, []string{"OOMKilled", "Error"}) {
			t.Errorf("the killed one and the one that failed by itself: %q", got)
		}
	})
}

func TestPodsEndAsTheirPolicySays(t *testing.T) {
	for _, row := range []struct {
		policy v1.RestartPolicy
		code   int
		phase  v1.PodPhase
		starts int
	}{
		{v1.RestartPolicyNever, 0, v1.PodSucceeded, 1},
		{v1.RestartPolicyNever, 1, v1.PodFailed, 1},
		{v1.RestartPolicyOnFailure, 0, v1.PodSucceeded, 1},
		{v1.RestartPolicyOnFailure, 1, v1.PodRunning, 2},
		{v1.RestartPolicyAlways, 0, v1.PodRunning, 2},
	} {
		t.Run(string(row.policy)+" exits "+string(rune('0'+row.code)), func(t *testing.T) {
			inMachine(t, func(t *testing.T, m *machine) {
				m.engine.scripts["c"] = script{after: time.Second, code: row.code}
				spec := one("c")
				spec.RestartPolicy = row.policy
				m.pod("p", spec)
				m.settle(5 * time.Second)
				if got := m.get("p").Status.Phase; got != row.phase || m.engine.starts["c"] != row.starts {
					t.Errorf("%s with %d starts, want %s with %d", got, m.engine.starts["c"], row.phase, row.starts)
				}
				ended := row.phase != v1.PodRunning
				if has := m.engine.running("uid-p")[""] == 1; has == ended {
					t.Errorf("sandbox runs: %v", has)
				}
				if _, held := m.net.addrs["uid-p"]; held == ended {
					t.Errorf("address held: %v", held)
				}
			})
		})
	}
}

func TestInitContainersComeOneByOneAndSidecarsStay(t *testing.T) {
	inMachine(t, func(t *testing.T, m *machine) {
		always := v1.ContainerRestartPolicyAlways
		m.engine.scripts["first"] = script{after: 5 * time.Second}
		m.engine.scripts["second"] = script{after: 5 * time.Second}
		spec := one("c")
		spec.RestartPolicy = v1.RestartPolicyNever
		spec.InitContainers = []v1.Container{{Name: "first"}, {Name: "side", RestartPolicy: &always}, {Name: "second"}}
		m.pod("p", spec)
		m.settle(time.Second)
		if got := m.engine.running("uid-p"); got["first"] != 1 || len(got) != 2 {
			t.Errorf("at first: %v", got)
		}
		m.settle(5 * time.Second)
		if got := m.engine.running("uid-p"); got["second"] != 1 || got["side"] != 1 || len(got) != 3 {
			t.Errorf("then: %v", got)
		}
		m.engine.exit(m.engine.find("uid-p", "side", docker.Running), 1)
		m.settle(5 * time.Second)
		if got := m.engine.running("uid-p"); got["c"] != 1 || got["side"] != 1 || len(got) != 3 {
			t.Errorf("at last: %v", got)
		}
		m.engine.exit(m.engine.find("uid-p", "c", docker.Running), 0)
		m.settle(5 * time.Second)
		if got := m.engine.running("uid-p"); len(got) != 0 {
			t.Errorf("after the end: %v", got)
		}
		if got := m.get("p").Status.Phase; got != v1.PodSucceeded {
			t.Errorf("phase %s", got)
		}
		if m.engine.starts["first"] != 1 || m.engine.starts["second"] != 1 {
			t.Errorf("starts: %v", m.engine.starts)
		}
	})
}

func TestImagesThatCannotBeHadSayWhy(t *testing.T) {
	for name, row := range map[string]struct {
		image  string
		policy v1.PullPolicy
		first  string
		then   string
	}{
		"missing": {"nowhere", v1.PullIfNotPresent, "ErrImagePull", "ImagePullBackOff"},
		"never":   {"nowhere", v1.PullNever, "ErrImageNeverPull", "ErrImageNeverPull"},
		"invalid": {"No:Such:Name", v1.PullIfNotPresent, "InvalidImageName", "InvalidImageName"},
	} {
		t.Run(name, func(t *testing.T) {
			inMachine(t, func(t *testing.T, m *machine) {
				spec := one("c")
				spec.Containers[0].Image, spec.Containers[0].ImagePullPolicy = row.image, row.policy
				m.pod("p", spec)
				m.settle(time.Second)
				if got := waitingReason(m.get("p")); got != row.first {
					t.Errorf("at first %q", got)
				}
				m.settle(3 * time.Second)
				if got := waitingReason(m.get("p")); got != row.then {
					t.Errorf("then %q", got)
				}
				if got := m.told("p", "BackOff"); (got > 0) != (row.then == "ImagePullBackOff") {
					t.Errorf("%d events tell of a back-off", got)
				}
				if row.then == "InvalidImageName" {
					return
				}
				m.settle(17 * time.Minute)
				m.engine.mu.Lock()
				m.engine.images[row.image] = true
				m.engine.mu.Unlock()
				m.settle(imageLook)
				if got := m.get("p").Status.Phase; got != v1.PodRunning {
					t.Errorf("when the image is there: %s", got)
				}
			})
		})
	}
}

// The distances between pulls grow to five minutes, and what is told of them is counted, though each has its own reason.
func TestPullsBackOff(t *testing.T) {
	inMachine(t, func(t *testing.T, m *machine) {
		spec := one("c")
		spec.Containers[0].Image = "nowhere"
		m.pod("p", spec)
		m.settle(21 * time.Minute)
		const want = 9 // at once, after 10, 30, 70, 150, 310 seconds, and then every five minutes
		m.engine.mu.Lock()
		if got := m.engine.asked["nowhere"]; got != want {
			t.Errorf("asked for %d times", got)
		}
		m.engine.mu.Unlock()
		if got := m.told("p", "Pulling"); got != want {
			t.Errorf("%d pulls are told", got)
		}
		all, err := m.api.CoreV1().Events("ns").List(t.Context(), metav1.ListOptions{FieldSelector: "reason=BackOff"})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, e := range all.Items {
			if e.Reason == "BackOff" {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d events tell of the back-off, and not one that counts", n)
		}
	})
}

// A key of the pod's own opens a registry at the next try after it came.
func TestPullSecretsOpenRegistries(t *testing.T) {
	inMachine(t, func(t *testing.T, m *machine) {
		m.engine.locked["registry.test/private"] = `"password":"pw"`
		spec := one("c")
		spec.Containers[0].Image, spec.ImagePullSecrets = "registry.test/private", []v1.LocalObjectReference{{Name: "key"}}
		m.pod("p", spec)
		m.settle(time.Second)
		if got := waitingReason(m.get("p")); got != "ErrImagePull" {
			t.Errorf("without the key: %q", got)
		}
		key := &v1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "key"}, Type: v1.SecretTypeDockerConfigJson,
			Data: map[string][]byte{v1.DockerConfigJsonKey: []byte(`{"auths":{"other.test":{"username":"u","password":"no"},"registry.test":{"username":"u","password":"pw"}}}`)}}
		if _, err := m.api.CoreV1().Secrets("ns").Create(t.Context(), key, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		m.settle(10 * time.Second)
		if got := m.get("p").Status.Phase; got != v1.PodRunning {
			t.Errorf("with the key: %s", got)
		}
	})
}

func TestAStartThatFailsSaysWhy(t *testing.T) {
	inMachine(t, func(t *testing.T, m *machine) {
		m.engine.scripts["c"] = script{broken: `exec: "nope": not found`}
		m.pod("p", one("c"))
		m.settle(2 * time.Second)
		c := m.get("p").Status.ContainerStatuses[0]
		if c.State.Waiting == nil || c.State.Waiting.Reason != "RunContainerError" || !strings.Contains(c.State.Waiting.Message, "nope") {
			t.Errorf("%+v", c.State)
		}
		m.settle(time.Minute)
		c = m.get("p").Status.ContainerStatuses[0]
		if last := c.LastTerminationState.Terminated; last == nil || last.Reason != "StartError" || last.ExitCode != 127 {
			t.Errorf("%+v", c)
		}
	})
}

func TestAPodThatEndsBeforeItBeganWaitsForNothing(t *testing.T) {
	inMachine(t, func(t *testing.T, m *machine) {
		spec, deadline := one("c"), int64(5)
		spec.Containers[0].Image, spec.ActiveDeadlineSeconds = "nowhere", &deadline
		m.pod("p", spec)
		m.settle(20 * time.Second)
		st := m.get("p").Status
		if st.Phase != v1.PodFailed || st.Reason != "DeadlineExceeded" || st.ContainerStatuses[0].State.Terminated == nil {
			t.Errorf("%s %s %+v", st.Phase, st.Reason, st.ContainerStatuses[0].State)
		}
	})
}

func TestTheEngineMayGoAndComeBack(t *testing.T) {
	inMachine(t, func(t *testing.T, m *machine) {
		m.pod("p", one("c"))
		m.settle(time.Second)
		m.engine.setDown(true)
		m.settle(20 * time.Second)
		node, err := m.api.CoreV1().Nodes().Get(t.Context(), "host", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if c := node.Status.Conditions[len(node.Status.Conditions)-1]; c.Type != v1.NodeReady || c.Status != v1.ConditionFalse || c.Reason != "EngineUnreachable" {
			t.Errorf("condition: %+v", c)
		}
		if len(node.Spec.Taints) != 1 || node.Spec.Taints[0].Key != v1.TaintNodeNotReady {
			t.Errorf("taints: %+v", node.Spec.Taints)
		}
		if ok, _, why := m.agent.Admit(m.get("p")); ok || !strings.Contains(why, "does not answer") {
			t.Errorf("admitted: %v %q", ok, why)
		}
		m.engine.exit(m.engine.find("uid-p", "c", docker.Running), 1) // nobody hears of it
		m.engine.setDown(false)
		m.settle(10 * time.Second)
		if got := m.engine.running("uid-p"); got["c"] != 1 || got[""] != 1 {
			t.Errorf("running: %v", got)
		}
		if node, _ = m.api.CoreV1().Nodes().Get(t.Context(), "host", metav1.GetOptions{}); len(node.Spec.Taints) != 0 {
			t.Errorf("taints: %+v", node.Spec.Taints)
		}
	})
}

// A host that calls itself ready is asked to take pods: not before it knows what runs on it, for it declines them until then.
func TestAHostIsNotReadyBeforeItAdmitsPods(t *testing.T) {
	inMachine(t, func(t *testing.T, m *machine) {
		ready := func() bool {
			node, err := m.api.CoreV1().Nodes().Get(t.Context(), "host", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(node.Status.Conditions, func(c v1.NodeCondition) bool { return c.Type == v1.NodeReady && c.Status == v1.ConditionTrue })
		}
		m.stop()
		if err := m.api.CoreV1().Nodes().Delete(t.Context(), "host", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		m.engine.setMute(true)
		m.start()
		m.settle(10 * time.Second)
		if ok, _, why := m.agent.Admit(&v1.Pod{}); ok || ready() {
			t.Errorf("ready %t, admits %t (%s) before it knows its pods", ready(), ok, why)
		}
		m.engine.setMute(false)
		<-m.agent.Ready()
		synctest.Wait()
		if ok, _, why := m.agent.Admit(&v1.Pod{}); !ok || !ready() {
			t.Errorf("ready %t, admits %t (%s) when it knows its pods", ready(), ok, why)
		}
	})
}

func TestOneThatRefusesToDieIsReportedAndHoldsUpNobody(t *testing.T) {
	inMachine(t, func(t *testing.T, m *machine) {
		m.engine.scripts["stuck"] = script{deaf: true, undying: true}
		m.pod("stuck", one("stuck"))
		m.pod("p", one("c"))
		m.settle(time.Second)
		m.delete("stuck", 5)
		m.delete("p", 5)
		m.settle(time.Minute)
		if m.exists("p") {
			t.Error("the other pod was held up")
		}
		if !m.exists("stuck") || m.engine.running("uid-stuck")["stuck"] != 1 {
			t.Error("given up on the stuck one")
		}
		told := false
		evs, _ := m.api.CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
		for _, e := range evs.Items {
			told = told || e.Reason == "FailedKillPod" && e.InvolvedObject.Name == "stuck"
		}
		if !told {
			t.Error("not reported")
		}
		m.engine.scripts["stuck"] = script{}
		m.settle(time.Minute)
		if m.exists("stuck") {
			t.Error("not tried again")
		}
	})
}

func TestUnknownContainersLiveUntilTheReplicaIsSettled(t *testing.T) {
	inMachine(t, func(t *testing.T, m *machine) {
		m.pod("p", one("c"))
		m.settle(time.Second)
		m.stop()
		if err := m.api.CoreV1().Pods("ns").Delete(t.Context(), "p", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		m.may = false
		m.start()
		m.settle(10 * time.Minute)
		if got := m.engine.running("uid-p"); got["c"] != 1 {
			t.Errorf("stopped without proof: %v", got)
		}
		m.may = true
		m.settle(time.Minute)
		if got := m.engine.running("uid-p"); len(got) != 0 || len(m.net.addrs) != 0 {
			t.Errorf("left: %v %v", got, m.net.addrs)
		}
	})
}

func TestAReplicaThatLostItsMemoryEndsNoPods(t *testing.T) {
	inMachine(t, func(t *testing.T, m *machine) {
		for _, name := range []string{"p", "q"} {
			m.pod(name, one("c"))
			m.settle(time.Second)
		}
		m.stop()
		for _, name := range []string{"p", "q"} {
			if err := m.api.CoreV1().Pods("ns").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		m.lost, m.dead = true, "uid-q"
		m.start()
		m.settle(10 * time.Minute)
		if got := m.engine.running("uid-p"); got["c"] != 1 {
			t.Errorf("stopped without proof: %v", got)
		}
		if got := m.engine.running("uid-q"); len(got) != 0 {
			t.Errorf("known dead, and left: %v", got)
		}
	})
}

func TestAHostPromisesNoMoreThanItHas(t *testing.T) {
	inMachine(t, func(t *testing.T, m *machine) {
		for _, name := range []string{"a", "b", "c"} {
			m.pod(name, one("c"))
		}
		m.settle(time.Second)
		reserved := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "d", UID: "uid-d"}, Spec: one("c")}
		if ok, free, why := m.agent.Admit(reserved); !ok || free.Pods != 2 {
			t.Errorf("fourth of five: %v %+v %s", ok, free, why)
		}
		m.pod("e", one("c"))
		m.pod("f", one("c"))
		m.settle(time.Second)
		failed := 0
		for _, name := range []string{"e", "f"} {
			if st := m.get(name).Status; st.Phase == v1.PodFailed && st.Reason == "OutOfpods" {
				failed++
			}
		}
		if failed != 1 {
			t.Errorf("%d refused, want 1 of 2 besides a reservation", failed)
		}
		m.settle(reservation)
		if ok, _, why := m.agent.Admit(&v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "g", UID: "uid-g"}, Spec: one("c")}); !ok {
			t.Errorf("the reservation did not end: %s", why)
		}
	})
}

// TestWhateverHappensThePodComesBack walks through mishaps in random order and then lets things be.
func TestWhateverHappensThePodComesBack(t *testing.T) {
	for seed := range uint64(20) {
		inMachine(t, func(t *testing.T, m *machine) {
			r := rand.New(rand.NewPCG(seed, 1))
			spec := one("a", "b")
			spec.InitContainers = []v1.Container{{Name: "i"}}
			m.engine.scripts["i"] = script{after: time.Second}
			m.pod("p", spec)
			mishaps := map[string]func(){
				"a dies":            func() { m.engine.exit(m.engine.find("uid-p", "a", docker.Running), 1) },
				"the sandbox dies":  func() { m.engine.exit(m.engine.find("uid-p", "", docker.Running), 137) },
				"b removed by hand": func() { _ = m.engine.Remove(t.Context(), m.engine.find("uid-p", "b", docker.Running)) },
				"sandbox removed":   func() { _ = m.engine.Remove(t.Context(), m.engine.find("uid-p", "", docker.Running)) },
				"engine goes":       func() { m.engine.setDown(true) },
				"engine comes":      func() { m.engine.setDown(false) },
				"daemon restarts": func() {
					m.engine.setDown(false)
					m.stop()
					m.start()
				},
			}
			names := []string{"a dies", "the sandbox dies", "b removed by hand", "sandbox removed", "engine goes", "engine comes", "daemon restarts"}
			var path []string
			for range 12 {
				name := names[r.IntN(len(names))]
				path = append(path, name)
				mishaps[name]()
				m.settle(time.Duration(r.IntN(3000)) * time.Millisecond)
			}
			m.engine.setDown(false)
			m.settle(10 * time.Minute)
			got := m.engine.running("uid-p")
			if got[""] != 1 || got["a"] != 1 || got["b"] != 1 || len(got) != 3 {
				t.Fatalf("seed %d, after %v: %v", seed, path, got)
			}
			if p := m.get("p"); p.Status.Phase != v1.PodRunning {
				t.Fatalf("seed %d, after %v: %s", seed, path, p.Status.Phase)
			}
			m.delete("p", 1)
			m.settle(time.Minute)
			if left := m.engine.running("uid-p"); m.exists("p") || len(left) != 0 || len(m.net.attached) != 0 {
				t.Fatalf("seed %d: left %v", seed, left)
			}
		})
	}
}
