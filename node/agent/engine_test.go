package agent_test

import (
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/orpheus-mesh/orpheus/node/docker"
)

// TestEngine runs pods on a real engine; the subtests share one host, as pods do.
func TestEngine(t *testing.T) {
	b := newBench(t)
	for _, one := range []struct {
		name string
		run  func(*testing.T, *bench)
	}{
		{"a pod starts, is asked, is entered and is deleted", wholeLife},
		{"init containers run in order, before the others", initOrder},
		{"a crash is restarted and remembered", crash},
		{"a job's pod ends", completes},
		{"a failed liveness probe restarts", liveness},
		{"what is missing is named, and found when it comes", missing},
		{"ConfigMaps are renewed, Secrets stay in memory", files},
		{"the grace is granted and not exceeded", graceful},
		{"memory has a bound", outOfMemory},
		{"processes are shared and orphans reaped", sharedProcesses},
		{"security is as asked", secured},
		{"logs, exec, attach and port-forward", streams},
		{"the host's own network", hostNetwork},
		{"a claim without a volume gets one here", localClaim},
		{"a restart of the daemon restarts nothing", restart},
	} {
		ok := t.Run(one.name, func(t *testing.T) {
			outer := b.t
			b.t = t
			defer func() { b.t = outer }()
			one.run(t, b)
		})
		if !ok {
			t.Fail()
		}
	}
}

func wholeLife(t *testing.T, b *bench) {
	begun := time.Now()
	b.pod("web", v1.PodSpec{Hostname: "www", Subdomain: "sub", HostAliases: []v1.HostAlias{{IP: "10.1.2.3", Hostnames: []string{"db"}}},
		Containers: []v1.Container{{Name: "c", Command: sh("mkdir /tmp/w; echo hello > /tmp/w/index.html; echo started; exec httpd -f -p 8080 -h /tmp/w"),
			Env:            []v1.EnvVar{{Name: "WHO", Value: "me"}, {Name: "HI", Value: "hi $(WHO)"}, {Name: "IP", ValueFrom: &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{FieldPath: "status.podIP"}}}},
			ReadinessProbe: &v1.Probe{PeriodSeconds: 1, ProbeHandler: v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Path: "/index.html", Port: intstr.FromInt32(8080)}}}}}})
	b.untilPod("web", "running", 10*time.Second, func(p *v1.Pod) bool { return p.Status.Phase == v1.PodRunning })
	t.Logf("running after %s", time.Since(begun))
	p := b.untilPod("web", "ready", 10*time.Second, ready)
	t.Logf("ready after %s", time.Since(begun))
	if p.Status.PodIP == "" || p.Status.HostIP == "" || p.Status.QOSClass != v1.PodQOSBestEffort || p.Status.ObservedGeneration != 1 {
		t.Errorf("status: %s", describe(p))
	}
	if got := b.exec("web", "c", "sh", "-c", "echo $HI $IP $(hostname)"); strings.TrimSpace(got) != "hi me "+p.Status.PodIP+" www" {
		t.Errorf("environment: %q", got)
	}
	hosts := b.exec("web", "c", "cat", "/etc/hosts", "/etc/resolv.conf")
	for _, want := range []string{"10.1.2.3\tdb", p.Status.PodIP + "\twww.sub.ns.svc.cluster.local\twww", "nameserver 169.254.1.1", "search ns.svc.cluster.local svc.cluster.local cluster.local", "ndots:5"} {
		if !strings.Contains(hosts, want) {
			t.Errorf("host files lack %q:\n%s", want, hosts)
		}
	}
	if got := b.logs("web", "c", false); got != "started\n" {
		t.Errorf("logs: %q", got)
	}
	b.delete("web", 1)
	b.gone("web", "uid-web-1")
}

// gone waits until nothing of a pod is left anywhere.
func (b *bench) gone(name string, uid string) {
	b.t.Helper()
	b.until("pod "+name+" gone from the API", soon, func() bool {
		_, err := b.api.CoreV1().Pods("ns").Get(b.t.Context(), name, metav1.GetOptions{})
		return err != nil
	})
	if left := b.containers(docker.Label + "=" + uid); len(left) > 0 {
		b.t.Errorf("containers left: %+v", left)
	}
}

func initOrder(t *testing.T, b *bench) {
	always := v1.ContainerRestartPolicyAlways
	shared := []v1.VolumeMount{{Name: "s", MountPath: "/s"}}
	b.pod("init", v1.PodSpec{Volumes: []v1.Volume{{Name: "s", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}}},
		InitContainers: []v1.Container{
			{Name: "one", Command: sh("echo one >> /s/order"), VolumeMounts: shared},
			{Name: "side", RestartPolicy: &always, Command: sh("echo side >> /s/order; touch /tmp/up; sleep 600"), VolumeMounts: shared,
				StartupProbe: &v1.Probe{PeriodSeconds: 1, FailureThreshold: 10, ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"test", "-e", "/tmp/up"}}}}},
			{Name: "two", Command: sh("echo two >> /s/order"), VolumeMounts: shared}},
		Containers: []v1.Container{{Name: "c", Command: sh("echo main >> /s/order; sleep 600"), VolumeMounts: shared}}})
	p := b.untilPod("init", "ready", soon, ready)
	if got := b.exec("init", "c", "cat", "/s/order"); got != "one\nside\ntwo\nmain\n" {
		t.Errorf("order: %q", got)
	}
	for _, c := range p.Status.InitContainerStatuses {
		if !c.Ready {
			t.Errorf("init container: %+v", c)
		}
	}
	b.delete("init", 0)
	b.gone("init", string(p.UID))
}

func crash(t *testing.T, b *bench) {
	b.pod("crash", v1.PodSpec{Containers: []v1.Container{{Name: "c", Command: sh("echo try; echo last words > /dev/termination-log; exit 3")}}})
	p := b.untilPod("crash", "in back-off", soon, func(p *v1.Pod) bool {
		return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Waiting != nil && p.Status.ContainerStatuses[0].State.Waiting.Reason == "CrashLoopBackOff"
	})
	c := p.Status.ContainerStatuses[0]
	last := c.LastTerminationState.Terminated
	if c.RestartCount != 1 || last == nil || last.ExitCode != 3 || last.Reason != "Error" || last.Message != "last words\n" || p.Status.Phase != v1.PodRunning {
		t.Errorf("status: %s", describe(p))
	}
	if got := b.logs("crash", "c", true); got != "try\n" {
		t.Errorf("previous logs: %q", got)
	}
	b.delete("crash", 0)
	b.gone("crash", string(p.UID))
}

func completes(t *testing.T, b *bench) {
	b.pod("job", v1.PodSpec{RestartPolicy: v1.RestartPolicyNever, Containers: []v1.Container{
		{Name: "good", Command: sh("exit 0")}, {Name: "bad", Command: sh("echo oops; exit 1"), TerminationMessagePolicy: v1.TerminationMessageFallbackToLogsOnError}}})
	p := b.untilPod("job", "failed", soon, func(p *v1.Pod) bool { return p.Status.Phase == v1.PodFailed })
	if got := p.Status.ContainerStatuses[1].State.Terminated; got == nil || got.Message != "oops\n" {
		t.Errorf("status: %s", describe(p))
	}
	b.until("sandbox given back", 5*time.Second, func() bool { return len(b.containers(docker.Label+"="+string(p.UID))) == 2 })
	if got := b.logs("job", "bad", false); got != "oops\n" {
		t.Errorf("logs of the dead: %q", got)
	}
	b.delete("job", 0)
	b.gone("job", string(p.UID))
}

func liveness(t *testing.T, b *bench) {
	b.pod("ill", v1.PodSpec{Containers: []v1.Container{{Name: "c", Command: sh("trap 'exit 0' TERM; touch /tmp/ok; sleep 2 & wait; rm /tmp/ok; while true; do sleep 0.1; done"),
		LivenessProbe: &v1.Probe{PeriodSeconds: 1, ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"test", "-e", "/tmp/ok"}}}}}}})
	p := b.untilPod("ill", "restarted", soon, func(p *v1.Pod) bool {
		return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].RestartCount == 1 && p.Status.ContainerStatuses[0].State.Running != nil
	})
	if last := p.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.Reason != "Completed" {
		t.Errorf("status: %s", describe(p))
	}
	b.delete("ill", 0)
	b.gone("ill", string(p.UID))
}

func missing(t *testing.T, b *bench) {
	b.pod("want", v1.PodSpec{Containers: []v1.Container{{Name: "c", Command: sh("sleep 600"), EnvFrom: []v1.EnvFromSource{
		{ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: v1.LocalObjectReference{Name: "later"}}}}}}})
	p := b.untilPod("want", "config error", soon, func(p *v1.Pod) bool {
		return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Waiting != nil && p.Status.ContainerStatuses[0].State.Waiting.Reason == "CreateContainerConfigError"
	})
	if got := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(got, `"later" not found`) {
		t.Errorf("message: %q", got)
	}
	if _, err := b.api.CoreV1().ConfigMaps("ns").Create(t.Context(), &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "later"}, Data: map[string]string{"K": "v"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.untilPod("want", "ready once it is there", 5*time.Second, ready)
	if got := b.exec("want", "c", "sh", "-c", "echo $K"); got != "v\n" {
		t.Errorf("K: %q", got)
	}
	b.delete("want", 0)
	b.gone("want", string(p.UID))
}

func files(t *testing.T, b *bench) {
	ctx := t.Context()
	cm := &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "conf"}, Data: map[string]string{"k": "v1"}}
	cm, err := b.api.CoreV1().ConfigMaps("ns").Create(ctx, cm, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.api.CoreV1().Secrets("ns").Create(ctx, &v1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "sec"}, Data: map[string][]byte{"p": []byte("hush")}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	group, life := int64(4242), int64(3600)
	b.pod("files", v1.PodSpec{SecurityContext: &v1.PodSecurityContext{FSGroup: &group, RunAsUser: ptr(int64(1000))}, ServiceAccountName: "default",
		Volumes: []v1.Volume{
			{Name: "cm", VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "conf"}}}},
			{Name: "sec", VolumeSource: v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "sec"}}},
			{Name: "tok", VolumeSource: v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{Sources: []v1.VolumeProjection{{ServiceAccountToken: &v1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &life}}}}}},
			{Name: "mem", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{Medium: v1.StorageMediumMemory}}}},
		Containers: []v1.Container{{Name: "c", Command: sh("sleep 600"), VolumeMounts: []v1.VolumeMount{
			{Name: "cm", MountPath: "/cm"}, {Name: "sec", MountPath: "/sec", ReadOnly: true}, {Name: "tok", MountPath: "/tok"}, {Name: "mem", MountPath: "/mem"}, {Name: "mem", MountPath: "/sub", SubPath: "a/b"}}}}})
	p := b.untilPod("files", "ready", soon, ready)
	if got := b.exec("files", "c", "sh", "-c", "cat /cm/k /sec/p /tok/token; touch /mem/x /sub/y; ls /mem/a/b; stat -f -c %T /sec /mem; stat -c %g /mem/x; id -u"); got != "v1hushsignedy\ntmpfs\ntmpfs\n4242\n1000\n" {
		t.Errorf("files: %q", got)
	}
	cm.Data["k"] = "v2"
	if _, err := b.api.CoreV1().ConfigMaps("ns").Update(ctx, cm, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("the change in the container", 5*time.Second, func() bool { return b.exec("files", "c", "cat", "/cm/k") == "v2" })
	b.delete("files", 0)
	b.gone("files", string(p.UID))
}

func ptr[T any](v T) *T { return &v }

func graceful(t *testing.T, b *bench) {
	b.pod("polite", v1.PodSpec{Volumes: []v1.Volume{{Name: "h", VolumeSource: v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: b.dir + "/notes"}}}},
		Containers: []v1.Container{
			{Name: "c", Command: sh("trap 'echo term >> /h/notes; exit 0' TERM; while true; do sleep 0.1; done"), VolumeMounts: []v1.VolumeMount{{Name: "h", MountPath: "/h"}},
				Lifecycle: &v1.Lifecycle{PostStart: &v1.LifecycleHandler{Exec: &v1.ExecAction{Command: sh("echo post >> /h/notes")}},
					PreStop: &v1.LifecycleHandler{Exec: &v1.ExecAction{Command: sh("echo pre >> /h/notes")}}}},
			{Name: "stubborn", Command: sh("trap '' TERM; while true; do sleep 0.1; done")}}})
	p := b.untilPod("polite", "ready", soon, ready)
	begun := time.Now()
	b.delete("polite", 3)
	b.gone("polite", string(p.UID))
	if took := time.Since(begun); took < 2900*time.Millisecond || took > 20*time.Second { // the default would be 30
		t.Errorf("the stubborn one was given %s of 3 s", took)
	}
	if got := read(t, b.dir+"/notes/notes"); got != "post\npre\nterm\n" {
		t.Errorf("hooks and signal: %q", got)
	}
}

func restart(t *testing.T, b *bench) {
	b.pod("kept", v1.PodSpec{Containers: []v1.Container{{Name: "c", Command: sh("sleep 600"),
		ReadinessProbe: &v1.Probe{PeriodSeconds: 1, ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"true"}}}}}}})
	lost := b.pod("lost", v1.PodSpec{Containers: []v1.Container{{Name: "c", Command: sh("sleep 600")}}})
	kept := b.untilPod("kept", "ready", soon, ready)
	b.untilPod("lost", "ready", soon, ready)
	before := b.containers(docker.Label + "=" + string(kept.UID))
	b.stop()
	if err := b.api.CoreV1().Pods("ns").Delete(t.Context(), "lost", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.until("the pod that was deleted meanwhile is stopped", 10*time.Second, func() bool { return len(b.containers(docker.Label+"="+string(lost.UID))) == 0 })
	after := b.containers(docker.Label + "=" + string(kept.UID))
	if len(before) != 2 || len(after) != 2 || before[0].ID != after[0].ID || before[1].ID != after[1].ID || before[1].PID != after[1].PID {
		t.Errorf("before: %+v\nafter: %+v", before, after)
	}
	now := b.get("kept")
	if !ready(now) || now.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("status: %s", describe(now))
	}
	b.delete("kept", 0)
	b.gone("kept", string(kept.UID))
}

func outOfMemory(t *testing.T, b *bench) {
	// containerd begins to look out for this once a container runs: what is killed before that only has its exit code.
	b.pod("hungry", v1.PodSpec{RestartPolicy: v1.RestartPolicyNever, Containers: []v1.Container{{Name: "c", Command: sh("sleep 1; exec tail /dev/zero"),
		Resources: v1.ResourceRequirements{Limits: v1.ResourceList{v1.ResourceMemory: resource.MustParse("20Mi"), v1.ResourceCPU: resource.MustParse("500m")}}}}})
	p := b.untilPod("hungry", "failed for want of memory", 20*time.Second, func(p *v1.Pod) bool { // the engine may tell the reason after the end
		return p.Status.Phase == v1.PodFailed && p.Status.ContainerStatuses[0].State.Terminated.Reason == "OOMKilled"
	})
	if end := p.Status.ContainerStatuses[0].State.Terminated; end.ExitCode != 137 {
		t.Errorf("status: %s", describe(p))
	}
	b.delete("hungry", 0)
	b.gone("hungry", string(p.UID))
}

func sharedProcesses(t *testing.T, b *bench) {
	p := b.pod("shared", v1.PodSpec{ShareProcessNamespace: ptr(true), Containers: []v1.Container{
		{Name: "a", Command: sh("(sh -c 'sleep 0.2' &) ; sleep 600")}, {Name: "b", Command: sh("sleep 601")}}})
	b.untilPod("shared", "ready", soon, ready)
	b.until("the orphan is reaped", 5*time.Second, func() bool { return !strings.Contains(b.exec("shared", "a", "ps", "-o", "stat,args"), "sleep 0.2") })
	got := b.exec("shared", "a", "ps", "-o", "pid,stat,args")
	if !strings.Contains(got, "/pause") || !strings.Contains(got, "sleep 601") || strings.Contains(got, " Z") {
		t.Errorf("processes:\n%s", got)
	}
	b.delete("shared", 0)
	b.gone("shared", string(p.UID))
}

func secured(t *testing.T, b *bench) {
	b.pod("secure", v1.PodSpec{SecurityContext: &v1.PodSecurityContext{RunAsNonRoot: ptr(true), Sysctls: []v1.Sysctl{{Name: "net.ipv4.ip_unprivileged_port_start", Value: "80"}}},
		Containers: []v1.Container{
			{Name: "root", Command: sh("sleep 600")},
			{Name: "c", Command: sh("sleep 600"), SecurityContext: &v1.SecurityContext{RunAsUser: ptr(int64(1234)), RunAsGroup: ptr(int64(2345)), ReadOnlyRootFilesystem: ptr(true),
				AllowPrivilegeEscalation: ptr(false), Capabilities: &v1.Capabilities{Drop: []v1.Capability{"ALL"}, Add: []v1.Capability{"NET_BIND_SERVICE"}}}}}})
	p := b.untilPod("secure", "one runs", soon, func(p *v1.Pod) bool {
		return len(p.Status.ContainerStatuses) == 2 && p.Status.ContainerStatuses[1].State.Running != nil
	})
	if w := p.Status.ContainerStatuses[0].State.Waiting; w == nil || w.Reason != "CreateContainerConfigError" || !strings.Contains(w.Message, "runAsNonRoot") {
		t.Errorf("status: %s", describe(p))
	}
	got := b.exec("secure", "c", "sh", "-c", "id -u; id -g; touch /x 2>&1; grep -E 'NoNewPrivs|CapBnd' /proc/self/status; cat /proc/sys/net/ipv4/ip_unprivileged_port_start")
	for _, want := range []string{"1234\n2345\n", "Read-only file system", "NoNewPrivs:\t1", "CapBnd:\t0000000000000400", "\n80\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q: %s", want, got)
		}
	}
	b.delete("secure", 0)
	b.gone("secure", string(p.UID))
}

func hostNetwork(t *testing.T, b *bench) {
	b.pod("host", v1.PodSpec{HostNetwork: true, Containers: []v1.Container{{Name: "c", Command: sh("mkdir /tmp/w; httpd -f -p 127.0.0.1:18080 -h /tmp/w"),
		ReadinessProbe: &v1.Probe{PeriodSeconds: 1, ProbeHandler: v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromInt32(18080)}}}}}})
	p := b.untilPod("host", "ready", soon, ready)
	if p.Status.PodIP != "127.0.0.1" || p.Status.HostIP != "127.0.0.1" {
		t.Errorf("status: %s", describe(p))
	}
	b.delete("host", 0)
	b.gone("host", string(p.UID))
}

func localClaim(t *testing.T, b *bench) {
	claims := b.api.CoreV1().PersistentVolumeClaims("ns")
	if _, err := claims.Create(t.Context(), &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "data", UID: "uid-data"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"writer", "reader"} {
		p := b.pod(name, v1.PodSpec{Volumes: []v1.Volume{{Name: "d", VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}},
			Containers: []v1.Container{{Name: "c", Command: sh("echo " + name + " >> /d/who; sleep 600"), VolumeMounts: []v1.VolumeMount{{Name: "d", MountPath: "/d"}}}}})
		b.untilPod(name, "ready", soon, ready)
		if name == "reader" {
			b.until("the words of both", 5*time.Second, func() bool { return b.exec(name, "c", "cat", "/d/who") == "writer\nreader\n" })
		}
		b.delete(name, 0)
		b.gone(name, string(p.UID))
	}
	if c, err := claims.Get(t.Context(), "data", metav1.GetOptions{}); err != nil || c.Status.Phase != v1.ClaimBound || c.Spec.VolumeName == "" {
		t.Errorf("claim: %+v %v", c, err)
	}
}
