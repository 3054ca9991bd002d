package agent

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
)

func TestCrashBackoff(t *testing.T) {
	for _, row := range []struct {
		level int
		ran   time.Duration
		wait  time.Duration
		next  int
	}{
		{0, time.Second, 0, 1}, {1, time.Second, 10 * time.Second, 2}, {2, 0, 20 * time.Second, 3}, {5, 0, 160 * time.Second, 6},
		{6, 0, 5 * time.Minute, 7}, {60, 9 * time.Minute, 5 * time.Minute, 61}, {60, 10 * time.Minute, 0, 1},
	} {
		if wait, next := crashBackoff(row.level, row.ran); wait != row.wait || next != row.next {
			t.Errorf("level %d after %s: %s, %d; want %s, %d", row.level, row.ran, wait, next, row.wait, row.next)
		}
	}
}

func yes() *bool { b := true; return &b }

func TestVariables(t *testing.T) {
	service := func(ns, name, ip string) *v1.Service {
		return &v1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: v1.ServiceSpec{ClusterIP: ip, Ports: []v1.ServicePort{{Port: 443, Protocol: v1.ProtocolTCP}}}}
	}
	objects := []runtime.Object{
		&v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "cm"}, Data: map[string]string{"A": "1", "B": "2"}},
		&v1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "sec"}, Data: map[string][]byte{"P": []byte("hush")}},
		service("default", "kubernetes", "10.96.0.1"), service("ns", "db", "10.96.0.7"), service("ns", "headless", v1.ClusterIPNone),
	}
	local := func(n string) v1.LocalObjectReference { return v1.LocalObjectReference{Name: n} }
	from := func(s v1.EnvVarSource) *v1.EnvVarSource { return &s }
	for name, row := range map[string]struct {
		container v1.Container
		want      map[string]string // these at least; "" as a value: must not be there
		err       string
	}{
		"own, from elsewhere and expanded": {v1.Container{
			EnvFrom: []v1.EnvFromSource{{Prefix: "X_", ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: local("cm")}}, {SecretRef: &v1.SecretEnvSource{LocalObjectReference: local("sec")}}},
			Env: []v1.EnvVar{{Name: "X_B", Value: "mine"}, {Name: "ALL", Value: "$(X_A) $(X_B) $$(P) $(NONE) $(DB_SERVICE_HOST)"},
				{Name: "K", ValueFrom: from(v1.EnvVarSource{ConfigMapKeyRef: &v1.ConfigMapKeySelector{LocalObjectReference: local("cm"), Key: "A"}})},
				{Name: "S", ValueFrom: from(v1.EnvVarSource{SecretKeyRef: &v1.SecretKeySelector{LocalObjectReference: local("sec"), Key: "P"}})},
				{Name: "IP", ValueFrom: from(v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{FieldPath: "status.podIP"}})},
				{Name: "L", ValueFrom: from(v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}})},
				{Name: "CPU", ValueFrom: from(v1.EnvVarSource{ResourceFieldRef: &v1.ResourceFieldSelector{Resource: "limits.cpu"}})}}},
			map[string]string{"X_A": "1", "X_B": "mine", "P": "hush", "ALL": "1 mine $(P) $(NONE) 10.96.0.7", "K": "1", "S": "hush", "IP": "10.32.0.5", "L": "web", "CPU": "3",
				"KUBERNETES_SERVICE_HOST": "10.96.0.1", "DB_SERVICE_PORT": "443", "HEADLESS_SERVICE_HOST": ""}, ""},
		"optional and absent": {v1.Container{
			EnvFrom: []v1.EnvFromSource{{SecretRef: &v1.SecretEnvSource{LocalObjectReference: local("no"), Optional: yes()}}},
			Env:     []v1.EnvVar{{Name: "K", ValueFrom: from(v1.EnvVarSource{ConfigMapKeyRef: &v1.ConfigMapKeySelector{LocalObjectReference: local("cm"), Key: "no", Optional: yes()}})}}},
			map[string]string{"K": ""}, ""},
		"a missing key is named":       {v1.Container{Env: []v1.EnvVar{{Name: "K", ValueFrom: from(v1.EnvVarSource{SecretKeyRef: &v1.SecretKeySelector{LocalObjectReference: local("sec"), Key: "no"}})}}}, nil, "couldn't find key no in Secret ns/sec"},
		"a missing ConfigMap is named": {v1.Container{EnvFrom: []v1.EnvFromSource{{ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: local("no")}}}}, nil, `configmaps "no" not found`},
	} {
		t.Run(name, func(t *testing.T) {
			e := environment{api: fake.NewClientset(objects...), container: &row.container, pods: netip.MustParseAddr("10.32.0.5"), host: netip.MustParseAddr("192.0.2.1"),
				pod:         &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Labels: map[string]string{"app": "web"}}},
				allocatable: v1.ResourceList{v1.ResourceCPU: resource.MustParse("3")}}
			got, err := e.variables(t.Context())
			if row.err != "" {
				if err == nil || err.Error() != row.err {
					t.Errorf("error %v, want %s", err, row.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for k, want := range row.want {
				if have, there := got[k]; have != want || there != (want != "") {
					t.Errorf("%s is %q, want %q", k, have, want)
				}
			}
		})
	}
}

func TestResolver(t *testing.T) {
	host := parseResolver([]byte("# x\nnameserver 192.0.2.53\nsearch lan\noptions timeout:1\n"))
	dns, two := netip.MustParseAddr("169.254.1.1"), "2"
	mesh := []string{"ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan"}
	for name, row := range map[string]struct {
		spec v1.PodSpec
		want resolver
	}{
		"the mesh first":               {v1.PodSpec{DNSPolicy: v1.DNSClusterFirst}, resolver{[]string{"169.254.1.1"}, mesh, []string{"ndots:5"}}},
		"the host's":                   {v1.PodSpec{DNSPolicy: v1.DNSDefault}, host},
		"host network falls back":      {v1.PodSpec{DNSPolicy: v1.DNSClusterFirst, HostNetwork: true}, host},
		"host network asks the mesh":   {v1.PodSpec{DNSPolicy: v1.DNSClusterFirstWithHostNet, HostNetwork: true}, resolver{[]string{"169.254.1.1"}, mesh, []string{"ndots:5"}}},
		"none but its own":             {v1.PodSpec{DNSPolicy: v1.DNSNone, DNSConfig: &v1.PodDNSConfig{Nameservers: []string{"192.0.2.9"}}}, resolver{Servers: []string{"192.0.2.9"}}},
		"more of its own, without two": {v1.PodSpec{DNSConfig: &v1.PodDNSConfig{Searches: []string{"lan", "x"}, Options: []v1.PodDNSConfigOption{{Name: "ndots", Value: &two}}}}, resolver{[]string{"169.254.1.1"}, append(slices.Clone(mesh), "x"), []string{"ndots:2"}}},
	} {
		pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}, Spec: row.spec}
		got := resolverOf(pod, dns, "cluster.local", host)
		if string(got.file()) != string(row.want.file()) {
			t.Errorf("%s:\n%swant\n%s", name, got.file(), row.want.file())
		}
	}
}

func TestLimits(t *testing.T) {
	list := func(cpu, memory string) v1.ResourceList {
		l := v1.ResourceList{}
		if cpu != "" {
			l[v1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			l[v1.ResourceMemory] = resource.MustParse(memory)
		}
		return l
	}
	for name, row := range map[string]struct {
		r    v1.ResourceRequirements
		want container.Resources
	}{
		"nothing asked":      {v1.ResourceRequirements{}, container.Resources{CPUShares: 2}},
		"requests":           {v1.ResourceRequirements{Requests: list("250m", "1Gi")}, container.Resources{CPUShares: 256}},
		"limits alone":       {v1.ResourceRequirements{Limits: list("2", "64Mi")}, container.Resources{CPUShares: 2048, CPUPeriod: 100000, CPUQuota: 200000, Memory: 64 << 20, MemorySwap: 64 << 20}},
		"a sliver of a core": {v1.ResourceRequirements{Limits: list("1m", "")}, container.Resources{CPUShares: 2, CPUPeriod: 100000, CPUQuota: 1000}},
	} {
		if got := limits(&v1.Container{Resources: row.r}); !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: %+v, want %+v", name, got, row.want)
		}
	}
}

func TestUsers(t *testing.T) {
	id := func(n int64) *int64 { return &n }
	for _, row := range []struct {
		user, group *int64
		image, want string
		root        bool
	}{
		{nil, nil, "", "", true}, {nil, nil, "nginx", "nginx", true}, {id(0), nil, "7", "0", true}, {nil, nil, "7", "7", false},
		{id(5), id(6), "x", "5:6", false}, {nil, id(6), "7:8", "7:6", false}, {nil, id(6), "", "0:6", true},
	} {
		got := userAndGroup(row.user, row.group, row.image)
		if got != row.want || (notRoot(got) != nil) != row.root {
			t.Errorf("%q %v, want %q %v", got, notRoot(got), row.want, row.root)
		}
	}
}

func TestPhases(t *testing.T) {
	run := v1.ContainerState{Running: &v1.ContainerStateRunning{}}
	wait := v1.ContainerState{Waiting: &v1.ContainerStateWaiting{}}
	end := func(code int32) v1.ContainerState {
		return v1.ContainerState{Terminated: &v1.ContainerStateTerminated{ExitCode: code}}
	}
	for name, row := range map[string]struct {
		policy  v1.RestartPolicy
		init    []v1.ContainerState
		states  []v1.ContainerState
		ending  bool
		started bool
		want    v1.PodPhase
	}{
		"init runs":              {v1.RestartPolicyAlways, []v1.ContainerState{run}, []v1.ContainerState{wait}, false, false, v1.PodPending},
		"init failed for good":   {v1.RestartPolicyNever, []v1.ContainerState{end(1)}, []v1.ContainerState{wait}, false, false, v1.PodFailed},
		"init failed, tries on":  {v1.RestartPolicyAlways, []v1.ContainerState{end(1)}, []v1.ContainerState{wait}, false, false, v1.PodPending},
		"one waits":              {v1.RestartPolicyAlways, nil, []v1.ContainerState{run, wait}, false, true, v1.PodPending},
		"all run":                {v1.RestartPolicyAlways, nil, []v1.ContainerState{run, run}, false, true, v1.PodRunning},
		"one ended, one runs":    {v1.RestartPolicyNever, nil, []v1.ContainerState{end(1), run}, false, true, v1.PodRunning},
		"all ended, will return": {v1.RestartPolicyAlways, nil, []v1.ContainerState{end(0)}, false, true, v1.PodRunning},
		"all ended well":         {v1.RestartPolicyOnFailure, nil, []v1.ContainerState{end(0), end(0)}, false, true, v1.PodSucceeded},
		"one ended badly":        {v1.RestartPolicyNever, nil, []v1.ContainerState{end(0), end(2)}, false, true, v1.PodFailed},
		"deleted and ended well": {v1.RestartPolicyAlways, nil, []v1.ContainerState{end(0)}, true, true, v1.PodSucceeded},
		"deleted and killed":     {v1.RestartPolicyAlways, nil, []v1.ContainerState{end(137)}, true, true, v1.PodFailed},
	} {
		pod := &v1.Pod{Spec: v1.PodSpec{RestartPolicy: row.policy}}
		st := v1.PodStatus{}
		for i, s := range row.init {
			name := string(rune('i' + i))
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, v1.Container{Name: name})
			st.InitContainerStatuses = append(st.InitContainerStatuses, v1.ContainerStatus{Name: name, State: s})
		}
		for i, s := range row.states {
			name := string(rune('a' + i))
			pod.Spec.Containers = append(pod.Spec.Containers, v1.Container{Name: name})
			st.ContainerStatuses = append(st.ContainerStatuses, v1.ContainerStatus{Name: name, State: s})
		}
		if got := phaseOf(pod, &st, row.ending, row.started); got != row.want {
			t.Errorf("%s: %s, want %s", name, got, row.want)
		}
	}
}

func TestTaintsFollowConditions(t *testing.T) {
	theirs := v1.Taint{Key: "team", Effect: v1.TaintEffectNoExecute}
	bad := v1.NodeStatus{Conditions: []v1.NodeCondition{{Type: v1.NodeDiskPressure, Status: v1.ConditionTrue}, {Type: v1.NodeReady, Status: v1.ConditionTrue}}}
	got := taintsFor([]v1.Taint{theirs, {Key: v1.TaintNodeNotReady, Effect: v1.TaintEffectNoSchedule}}, bad)
	if len(got) != 2 || got[0] != theirs || got[1].Key != v1.TaintNodeDiskPressure {
		t.Errorf("%+v", got)
	}
}

func TestWhatComesFromTheAPICannotBeWrittenTo(t *testing.T) {
	claim := func(only bool) *v1.PersistentVolumeClaimVolumeSource {
		return &v1.PersistentVolumeClaimVolumeSource{ClaimName: "c", ReadOnly: only}
	}
	for name, tc := range map[string]struct {
		source v1.VolumeSource
		want   bool
	}{
		"configMap":   {v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{}}, true},
		"secret":      {v1.VolumeSource{Secret: &v1.SecretVolumeSource{}}, true},
		"projected":   {v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{}}, true},
		"downwardAPI": {v1.VolumeSource{DownwardAPI: &v1.DownwardAPIVolumeSource{}}, true},
		"claim, read": {v1.VolumeSource{PersistentVolumeClaim: claim(true)}, true},
		"claim":       {v1.VolumeSource{PersistentVolumeClaim: claim(false)}, false},
		"emptyDir":    {v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}, false},
		"hostPath":    {v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{}}, false},
	} {
		pod := &v1.Pod{Spec: v1.PodSpec{Volumes: []v1.Volume{{Name: "other"}, {Name: "v", VolumeSource: tc.source}}}}
		c := &v1.Container{VolumeMounts: []v1.VolumeMount{{Name: "v", MountPath: "/v"}}}
		got, err := mountsOf(pod, c, func(s string) string { return s }, func(int, v1.VolumeMount, string) (string, error) { return "/host", nil })
		if err != nil || len(got) != 1 || got[0].ReadOnly != tc.want {
			t.Errorf("%s: %+v %v, want ReadOnly %v", name, got, err, tc.want)
		}
	}
}
