package faults

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// placing: what is foretold is what happens, what cannot be says why, a budget outlives a preemption where another victim stands,
// and a server that comes and goes is the last to get pods.
func placing(l lab) {
	l.foretold()
	l.claimless()
	l.preempted()
	l.lastResort()
}

// share is so many per cent of a host's cores, which all have the same.
func (l lab) share(percent int) string {
	l.t.Helper()
	cores, err := strconv.Atoi(l.kubectl("x1", "get", "node", "x1", "-o", "jsonpath={.status.allocatable.cpu}"))
	l.check(err)
	return fmt.Sprintf("%dm", cores*10*percent)
}

// crowd is a deployment whose pods ask for a share of a host each.
func (l lab) crowd(name string, replicas, percent int) string {
	l.t.Helper()
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: "busybox:1", command: [sleep, "100000"], resources: {requests: {cpu: %[3]s}}}]
`, name, replicas, l.share(percent))
}

// plans asks where the pods of manifests would go; the status is plan's.
func (l lab) plans(yaml string) (said string, status int) {
	l.t.Helper()
	out, err := l.m.Orpheus(l.ctx, "x2", strings.NewReader(yaml), "plan", "-f", "-")
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(out), exit.ExitCode()
	}
	l.check(err)
	return string(out), 0
}

func (l lab) foretold() {
	l.t.Helper()
	if said, status := l.plans(l.crowd("crowd", 3, 60)); status != 0 {
		l.t.Errorf("one of 60 %% for each host does not fit (%d): %s", status, said)
	}
	said, status := l.plans(l.crowd("crowd", 4, 60))
	if err := contains(said, "0/3 nodes are available: 3 Insufficient cpu.", "1 would fit NOWHERE", "more cpu"); status != 2 || err != nil {
		l.t.Errorf("four on three hosts: status %d, %v", status, err)
	}
	if got := l.kubectl("x1", "get", "deployment", "-o", "name"); strings.Contains(got, "crowd") {
		l.t.Errorf("a forecast applied %s", got)
	}
}

// claimless: a pod waits for its claim instead of being bound to where its data may not be.
func (l lab) claimless() {
	l.t.Helper()
	l.apply("x1", `
apiVersion: v1
kind: Pod
metadata: {name: claimless}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: data, persistentVolumeClaim: {claimName: later}}]
  containers: [{name: main, image: "busybox:1", command: [sleep, "100000"], volumeMounts: [{name: data, mountPath: /data}]}]
`)
	l.describes("claimless", `persistentvolumeclaim "later" not found`, "Pending")
	l.apply("x2", "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: later}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}}}\n")
	l.starts("claimless")
	l.kubectl("x1", "delete", "pod/claimless", "pvc/later")
}

func (l lab) describes(pod string, words ...string) {
	l.t.Helper()
	l.soon("describe says it of "+pod, func() error {
		out, err := l.m.Kubectl(l.ctx, "x2", "describe", "pod", pod)
		if err != nil {
			return err
		}
		return contains(out, words...)
	})
}

func (l lab) starts(pod string) {
	l.t.Helper()
	l.soon(pod+" runs", func() error {
		phase, err := l.m.Kubectl(l.ctx, "x1", "get", "pod", pod, "-o", "jsonpath={.status.phase}")
		if err == nil && phase != "Running" {
			err = fmt.Errorf("it is %s", phase)
		}
		return err
	})
}

// rolled waits until all pods of a deployment are Ready, and lists them with their hosts.
func (l lab) rolled(name string) string {
	l.t.Helper()
	l.kubectl("x1", "rollout", "status", "deployment/"+name, "--timeout", patience.String())
	return l.kubectl("x1", "get", "pods", "-l", "app="+name, "-o", "jsonpath={range .items[*]}{.metadata.uid}@{.spec.nodeName} {end}")
}

// preempted: each host is filled by one pod under a budget and one without, so that the latter has to go.
func (l lab) preempted() {
	l.t.Helper()
	l.apply("x1", `
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: guarded}
spec: {maxUnavailable: 0, selector: {matchLabels: {app: guarded}}}
---`+l.crowd("guarded", 3, 55))
	guarded := l.rolled("guarded")
	l.apply("x1", l.crowd("plain", 3, 40))
	l.rolled("plain")
	l.apply("x1", "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: urgent}\nvalue: 1000\n")
	urgent := fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: urgent}\nspec:\n  priorityClassName: urgent\n  terminationGracePeriodSeconds: 1\n"+
		"  containers: [{name: main, image: \"busybox:1\", command: [sleep, \"100000\"], resources: {requests: {cpu: %s}}}]\n", l.share(35))
	if said, status := l.plans(urgent); status != 0 || contains(said, "preempts", "would be told to leave", "default/plain-") != nil {
		l.t.Errorf("plan says (%d): %s", status, said)
	}
	l.apply("x1", urgent)
	l.starts("urgent")
	if events := l.kubectl("x1", "get", "events", "--field-selector", "reason=Preempted", "-o", "jsonpath={.items[*].involvedObject.name}"); !strings.HasPrefix(events, "plain-") || strings.Contains(events, " ") {
		l.t.Errorf("preempted are %q", events)
	}
	if now := l.rolled("guarded"); now != guarded {
		l.t.Errorf("under a budget that allows nothing were %s, now %s", guarded, now)
	}
	waits := l.kubectl("x1", "get", "pods", "-l", "app=plain", "--field-selector", "status.phase=Pending", "-o", "jsonpath={.items[*].metadata.name}")
	if err := contains(l.orpheus("x3", "explain", "pod", waits), "fits nowhere: 0/3 nodes are available: 3 Insufficient cpu.", "more cpu", "home: "); err != nil {
		l.t.Error(err)
	}
	l.kubectl("x1", "delete", "pod/urgent", "priorityclass/urgent", "deployment/plain", "deployment/guarded", "poddisruptionbudget/guarded")
	l.soon("they are gone", func() error {
		left, err := l.m.Kubectl(l.ctx, "x1", "get", "pods", "-l", "app in (guarded,plain)", "-o", "name")
		if err == nil && left != "" {
			err = errors.New(left)
		}
		return err
	})
}

// lastResort: x3 dies three times. Then it gets pods only where nobody else can take them.
func (l lab) lastResort() {
	l.t.Helper()
	for range 3 {
		l.check(l.m.Bed.Kill("x3", "orpheus", unix.SIGKILL))
		for _, h := range []string{"x1", "x2"} { // whom they only suspect did not come and go
			l.soon(h+" gives x3 up", func() error {
				out, err := l.m.Orpheus(l.ctx, h, nil, "members")
				for line := range strings.Lines(string(out)) { // one that rejoined stands there twice
					if strings.HasPrefix(line, "x3") && strings.Contains(line, " failed ") {
						return nil
					}
				}
				if err == nil {
					err = errors.New(string(out))
				}
				return err
			})
		}
		l.check(l.m.Up(l.ctx, "x3", ""))
		l.sees("x1", len(hosts))
		l.sees("x2", len(hosts))
		l.sees("x3", len(hosts))
	}
	for _, h := range hosts { // also to the one that flaps
		l.says(h, "! server x3: it was lost and came back too often lately")
	}
	l.apply("x1", l.crowd("shy", 4, 40))
	if on := l.rolled("shy"); strings.Contains(on, "@x3") {
		l.t.Errorf("others have room, but pods are on %s", on)
	}
	l.kubectl("x1", "scale", "deployment/shy", "--replicas=6")
	if on := l.rolled("shy"); strings.Count(on, "@x3") != 2 {
		l.t.Errorf("nobody else has room, and pods are on %s", on)
	}
	pods := strings.Fields(l.kubectl("x1", "get", "pods", "-l", "app=shy", "--field-selector", "spec.nodeName=x3", "-o", "jsonpath={.items[*].metadata.name}"))
	if len(pods) > 0 {
		if err := contains(l.orpheus("x2", "explain", "pod", pods[0]), "is on x3", "only when no other node can take it"); err != nil {
			l.t.Error(err)
		}
	}
	l.kubectl("x1", "delete", "deployment/shy")
}
