package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orpheus-mesh/orpheus/node/docker"
)

const (
	nodeCheck    = 3 * time.Second // how often engine and machine are looked at
	nodeBeat     = 5 * time.Minute // how often a status is written that did not change
	infoPeriod   = 15 * time.Second
	infoPatience = 5 * time.Second
	imagesPeriod = time.Minute
	imagesMost   = 50
)

// runNode keeps the Node object of this host true: registered, its status written when it changes.
func (a *Agent) runNode(ctx context.Context) error {
	r := reporter{a: a}
	tick := time.NewTicker(nodeCheck)
	defer tick.Stop()
	ready := a.ready
	for {
		if err := r.report(ctx); err != nil && ctx.Err() == nil {
			a.cfg.Log.Warn("state of this node not written", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ready:
			ready = nil
		case <-tick.C:
		}
	}
}

// reporter writes the Node object. It belongs to one goroutine.
type reporter struct {
	a       *Agent
	written v1.NodeStatus
	at      time.Time
	images  []v1.ContainerImage
	imaged  time.Time
	engine  docker.Info
	asked   time.Time
}

func (r *reporter) report(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*writeTimeout)
	defer cancel()
	r.look(ctx)
	node, err := r.register(ctx)
	if err != nil {
		return err
	}
	if r.at.IsZero() && !r.a.synced.Load() && r.a.host.trouble() == "" {
		return nil // homes would count on this host, which declines whatever they send it before it knows what runs on it
	}
	before := r.written
	if r.at.IsZero() {
		before = node.Status
	}
	st := r.status(before)
	if err := r.taint(ctx, node, st); err != nil {
		return err
	}
	if !r.at.IsZero() && time.Since(r.at) < nodeBeat && sameStatus(r.written, st) {
		return nil
	}
	node.Status = st
	if _, err := r.a.cfg.API.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("write status of node %s: %w", r.a.cfg.NodeName, err)
	}
	r.written, r.at = st, time.Now()
	return nil
}

// look asks the engine how it is; its silence is the node's trouble.
func (r *reporter) look(ctx context.Context) {
	err := r.ask(ctx)
	why := ""
	if err != nil {
		why = "Docker Engine does not answer: " + err.Error()
	}
	if r.a.host.setTrouble(why) {
		if why == "" {
			r.a.cfg.Log.Info("engine answers", "version", r.engine.Version)
			r.a.wakeAll()
		} else {
			r.a.cfg.Log.Error("engine does not answer", "error", err)
		}
	}
	if why == "" && time.Since(r.imaged) > imagesPeriod {
		if all, err := r.a.cfg.Docker.Images(ctx); err == nil {
			r.images, r.imaged = nodeImages(all), time.Now()
		}
	}
}

// ask is a ping most times; a full answer, which needs the engine's locks, from time to time and after a trouble. While an
// engine looks up a registry that no name server knows it gives no full answer (its account of registries is locked), but
// works: then its list of containers is answer enough.
func (r *reporter) ask(ctx context.Context) error {
	if time.Since(r.asked) < infoPeriod && r.a.host.trouble() == "" {
		return r.a.cfg.Docker.Ping(ctx)
	}
	brief, cancel := context.WithTimeout(ctx, infoPatience)
	defer cancel()
	info, err := r.a.cfg.Docker.Info(brief)
	switch {
	case err == nil:
		r.engine = info
	case errors.Is(err, context.DeadlineExceeded):
		if _, err := r.a.cfg.Docker.List(ctx, nil, labelUID); err != nil {
			return err
		}
	default:
		return err
	}
	r.asked = time.Now()
	return nil
}

// nodeImages lists the largest images.
func nodeImages(all []docker.Image) (out []v1.ContainerImage) {
	slices.SortFunc(all, func(a, b docker.Image) int {
		if a.Size != b.Size {
			return int(min(max(b.Size-a.Size, -1), 1))
		}
		return strings.Compare(a.ID, b.ID)
	})
	for _, img := range all[:min(len(all), imagesMost)] {
		names := slices.Sorted(slices.Values(img.Names))
		out = append(out, v1.ContainerImage{Names: names[:min(len(names), 5)], SizeBytes: img.Size})
	}
	return out
}

// register makes the Node object where it is missing, and puts our labels back where somebody took them off.
func (r *reporter) register(ctx context.Context) (*v1.Node, error) {
	nodes := r.a.cfg.API.CoreV1().Nodes()
	labels := r.a.nodeLabels()
	node, err := nodes.Get(ctx, r.a.cfg.NodeName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		r.at = time.Time{}
		node, err = nodes.Create(ctx, &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: r.a.cfg.NodeName, Labels: labels}}, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("register node %s: %w", r.a.cfg.NodeName, err)
		}
		return node, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read node %s: %w", r.a.cfg.NodeName, err)
	}
	missing := false
	for k, v := range labels {
		missing = missing || node.Labels[k] != v
	}
	if !missing {
		return node, nil
	}
	if node.Labels == nil {
		node.Labels = map[string]string{}
	}
	maps.Copy(node.Labels, labels)
	if node, err = nodes.Update(ctx, node, metav1.UpdateOptions{}); err != nil {
		return nil, fmt.Errorf("label node %s: %w", r.a.cfg.NodeName, err)
	}
	return node, nil
}

func (a *Agent) nodeLabels() map[string]string {
	l := map[string]string{v1.LabelHostname: a.cfg.NodeName, v1.LabelOSStable: "linux", v1.LabelArchStable: runtime.GOARCH}
	if a.cfg.Region != "" {
		l[v1.LabelTopologyRegion] = a.cfg.Region
	}
	if a.cfg.Zone != "" {
		l[v1.LabelTopologyZone] = a.cfg.Zone
	}
	maps.Copy(l, a.cfg.Labels)
	return l
}

func (r *reporter) status(before v1.NodeStatus) v1.NodeStatus {
	cfg := r.a.cfg
	st := v1.NodeStatus{Capacity: r.a.host.capacity, Allocatable: r.a.host.allocatable(), Images: r.images,
		Addresses:       []v1.NodeAddress{{Type: v1.NodeInternalIP, Address: cfg.Addr.String()}, {Type: v1.NodeHostName, Address: cfg.NodeName}},
		DaemonEndpoints: v1.NodeDaemonEndpoints{KubeletEndpoint: v1.DaemonEndpoint{Port: cfg.StreamPort}},
		NodeInfo:        r.nodeInfo()}
	p := pressureNow(cfg.Dir)
	now := metav1.NewTime(time.Now()).Rfc3339Copy()
	add := func(kind v1.NodeConditionType, bad, badReason, goodReason, goodMessage string) {
		c := v1.NodeCondition{Type: kind, Status: v1.ConditionFalse, Reason: goodReason, Message: goodMessage, LastHeartbeatTime: now, LastTransitionTime: now}
		if kind == v1.NodeReady {
			c.Status = v1.ConditionTrue
		}
		if bad != "" {
			c.Reason, c.Message = badReason, bad
			c.Status = map[bool]v1.ConditionStatus{true: v1.ConditionFalse, false: v1.ConditionTrue}[kind == v1.NodeReady]
		}
		for _, old := range before.Conditions {
			if old.Type == kind && old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
		}
		st.Conditions = append(st.Conditions, c)
	}
	add(v1.NodeMemoryPressure, p.memory, "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory", "there is enough memory")
	add(v1.NodeDiskPressure, p.disk, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure", "there is enough disk")
	add(v1.NodePIDPressure, p.tasks, "KubeletHasInsufficientPID", "KubeletHasSufficientPID", "there is room for processes")
	add(v1.NodeReady, r.a.host.trouble(), "EngineUnreachable", "KubeletReady", "Docker Engine answers")
	return st
}

func (r *reporter) nodeInfo() v1.NodeSystemInfo {
	var u unix.Utsname
	_ = unix.Uname(&u)
	return v1.NodeSystemInfo{
		MachineID: line("/etc/machine-id"), SystemUUID: line("/sys/class/dmi/id/product_uuid"), BootID: line("/proc/sys/kernel/random/boot_id"),
		KernelVersion: unix.ByteSliceToString(u.Release[:]), OSImage: osImage(), ContainerRuntimeVersion: "docker://" + r.engine.Version,
		KubeletVersion: r.a.cfg.Version, OperatingSystem: "linux", Architecture: runtime.GOARCH,
	}
}

func line(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func osImage() string {
	for l := range strings.Lines(line("/etc/os-release")) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(l), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return "Linux"
}

// sameStatus compares but for the time of the heartbeat.
func sameStatus(a, b v1.NodeStatus) bool {
	still := func(s v1.NodeStatus) v1.NodeStatus {
		s = *s.DeepCopy()
		for i := range s.Conditions {
			s.Conditions[i].LastHeartbeatTime = metav1.Time{}
		}
		return s
	}
	return apiequality.Semantic.DeepEqual(still(a), still(b))
}
