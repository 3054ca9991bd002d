package agent

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/qos"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"

	"github.com/orpheus-mesh/orpheus/node/docker"
)

// Logs are kept by the engine: two files of 10 MB a container.
var logConfig = container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m", "max-file": "2"}}

const (
	sandboxOOMScore = -998
	cpuPeriod       = 100_000 // microseconds
	minShares       = 2
	sharesPerCPU    = 1024
	minQuota        = 1000 // microseconds; the kernel's least
)

// sandboxSpec is the container that holds a pod's namespaces.
func (a *Agent) sandboxSpec(pod *v1.Pod, image string, addr netip.Addr, attempt int) docker.Spec {
	labels := podLabels(pod)
	labels[labelAttempt] = strconv.Itoa(attempt)
	labels[labelGrace] = strconv.FormatInt(grace(pod), 10)
	if addr.IsValid() {
		labels[labelAddress] = addr.String()
	}
	s := docker.Spec{Name: containerName(pod, "", attempt)}
	name, domain := hostnameOf(pod, a.cfg.ClusterDomain)
	s.Config = container.Config{Image: image, Labels: labels, StopSignal: "SIGKILL"}
	s.Host = container.HostConfig{NetworkMode: "none", IpcMode: "shareable", LogConfig: container.LogConfig{Type: "none"},
		OomScoreAdj: sandboxOOMScore, ReadonlyRootfs: true, SecurityOpt: []string{"no-new-privileges"}, Sysctls: sysctls(pod)}
	s.Host.CPUShares = minShares
	if pod.Spec.HostNetwork {
		s.Host.NetworkMode, s.Host.UTSMode = "host", "host"
	} else {
		s.Config.Hostname = name
		if pod.Spec.SetHostnameAsFQDN != nil && *pod.Spec.SetHostnameAsFQDN && domain != "" {
			s.Config.Hostname = name + "." + domain
		}
	}
	if pod.Spec.HostIPC {
		s.Host.IpcMode = "host"
	}
	if pod.Spec.HostPID {
		s.Host.PidMode = "host"
	}
	return s
}

func sysctls(pod *v1.Pod) map[string]string {
	if pod.Spec.SecurityContext == nil || len(pod.Spec.SecurityContext.Sysctls) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, s := range pod.Spec.SecurityContext.Sysctls {
		out[s.Name] = s.Value
	}
	return out
}

// dress is what a container's spec needs beyond the pod: all of it looked up before.
type dress struct {
	Sandbox   string // ID
	ImageID   string
	ImageUser string
	Attempt   int
	Level     int
	Env       map[string]string
	Mounts    []mount.Mount
	Memory    int64 // of the host, bytes
}

// containerSpec is one app or init container inside the sandbox's namespaces.
func (a *Agent) containerSpec(pod *v1.Pod, c *v1.Container, d dress) (docker.Spec, error) {
	labels := podLabels(pod)
	labels[labelContainer] = c.Name
	labels["io.kubernetes.container.name"] = c.Name
	labels[labelAttempt], labels[labelLevel] = strconv.Itoa(d.Attempt), strconv.Itoa(d.Level)
	labels[labelSandbox], labels[labelHash] = d.Sandbox, specHash(c)
	s := docker.Spec{Name: containerName(pod, c.Name, d.Attempt)}
	expand := expansion.MappingFuncFor(d.Env)
	s.Config = container.Config{Image: d.ImageID, Labels: labels, Env: sorted(d.Env), WorkingDir: c.WorkingDir,
		Entrypoint: expandAll(c.Command, expand), Cmd: expandAll(c.Args, expand),
		Tty: c.TTY, OpenStdin: c.Stdin, StdinOnce: c.StdinOnce, Healthcheck: &container.HealthConfig{Test: []string{"NONE"}}}
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		s.Config.StopSignal = string(*c.Lifecycle.StopSignal)
	}
	in := container.NetworkMode("container:" + d.Sandbox)
	s.Host = container.HostConfig{NetworkMode: in, IpcMode: container.IpcMode(in), LogConfig: logConfig, Mounts: d.Mounts,
		OomScoreAdj: qos.GetContainerOOMScoreAdjust(pod, c, d.Memory), Resources: limits(c)}
	if pod.Spec.HostNetwork {
		s.Host.NetworkMode, s.Host.UTSMode = "host", "host"
	}
	if pod.Spec.HostIPC {
		s.Host.IpcMode = "host"
	}
	switch {
	case pod.Spec.HostPID:
		s.Host.PidMode = "host"
	case pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace:
		s.Host.PidMode = container.PidMode(in)
	}
	if err := a.security(pod, c, d.ImageUser, &s.Config, &s.Host); err != nil {
		return s, err
	}
	return s, nil
}

func expandAll(all []string, mapping func(string) string) (out []string) {
	for _, s := range all {
		out = append(out, expansion.Expand(s, mapping))
	}
	return out
}

// limits puts requests and limits into the terms of the kernel's scheduler and memory controller.
func limits(c *v1.Container) container.Resources {
	r := container.Resources{CPUShares: minShares}
	request, asked := c.Resources.Requests[v1.ResourceCPU]
	limit, limited := c.Resources.Limits[v1.ResourceCPU]
	if !asked && limited {
		request = limit
	}
	if m := request.MilliValue(); m > 0 {
		r.CPUShares = min(max(m*sharesPerCPU/1000, minShares), 262144)
	}
	if m := limit.MilliValue(); m > 0 {
		r.CPUPeriod, r.CPUQuota = cpuPeriod, max(m*cpuPeriod/1000, minQuota)
	}
	if memory, ok := c.Resources.Limits[v1.ResourceMemory]; ok && memory.Value() > 0 {
		r.Memory, r.MemorySwap = memory.Value(), memory.Value()
	}
	return r
}

// grace is how long a pod's containers may take to stop, in seconds.
func grace(pod *v1.Pod) int64 {
	switch {
	case pod.DeletionGracePeriodSeconds != nil:
		return max(*pod.DeletionGracePeriodSeconds, 0)
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		return max(*pod.Spec.TerminationGracePeriodSeconds, 0)
	}
	return v1.DefaultTerminationGracePeriodSeconds
}

func graceDuration(pod *v1.Pod) time.Duration { return time.Duration(grace(pod)) * time.Second }

// mountsOf lists what a container mounts. resolve gives a volume mount's host path.
func mountsOf(pod *v1.Pod, c *v1.Container, expand func(string) string, resolve func(i int, vm v1.VolumeMount, sub string) (string, error)) ([]mount.Mount, error) {
	var out []mount.Mount
	for i, vm := range c.VolumeMounts {
		sub := vm.SubPath
		if vm.SubPathExpr != "" {
			sub = expansion.Expand(vm.SubPathExpr, expand)
		}
		src, err := resolve(i, vm, sub)
		if err != nil {
			return nil, fmt.Errorf("volumeMount %s at %s: %w", vm.Name, vm.MountPath, err)
		}
		m := mount.Mount{Type: mount.TypeBind, Source: src, Target: vm.MountPath, ReadOnly: vm.ReadOnly || onlyRead(pod, vm.Name)}
		if vm.MountPropagation != nil {
			m.BindOptions = &mount.BindOptions{Propagation: propagation(*vm.MountPropagation)}
		}
		out = append(out, m)
	}
	return out, nil
}

// onlyRead tells that no container of the pod may write to a volume, whatever its mounts say: its files come from the API and
// are renewed from there, or its claim is mounted to be read.
func onlyRead(pod *v1.Pod, volume string) bool {
	for _, v := range pod.Spec.Volumes {
		if v.Name == volume {
			return v.ConfigMap != nil || v.Secret != nil || v.Projected != nil || v.DownwardAPI != nil ||
				v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ReadOnly
		}
	}
	return false
}

func propagation(p v1.MountPropagationMode) mount.Propagation {
	switch p {
	case v1.MountPropagationHostToContainer:
		return mount.PropagationRSlave
	case v1.MountPropagationBidirectional:
		return mount.PropagationRShared
	}
	return mount.PropagationRPrivate
}
