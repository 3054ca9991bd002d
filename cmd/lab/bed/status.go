package bed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Status is what there is of a lab.
type Status struct {
	Dir     string       `json:"dir"`
	Regions int          `json:"regions"`
	Hosts   []HostStatus `json:"hosts"`
	Faults  []string     `json:"faults"`
}

// State is what a host is doing.
type State string

// The states of a host.
const (
	Off        State = "off"
	On         State = "on"
	Frozen     State = "frozen"
	EngineDown State = "engine down"
)

// HostStatus is a host and what it is doing.
type HostStatus struct {
	Host
	State      State    `json:"state"`
	Isolated   bool     `json:"isolated,omitempty"`
	Engine     string   `json:"engine,omitempty"` // its version
	Containers int      `json:"containers"`       // running ones
	Daemons    []string `json:"daemons"`          // started by name and running
}

// Status looks at every host; an engine has 2 s to answer.
func (b *Bed) Status(ctx context.Context) (Status, error) {
	s := Status{Dir: b.dir, Regions: b.regions}
	hosts, err := b.hosts()
	if err != nil {
		return s, err
	}
	for _, h := range hosts {
		s.Hosts = append(s.Hosts, b.look(ctx, h))
	}
	s.Faults, err = b.Faults()
	return s, err
}

func (b *Bed) look(ctx context.Context, h Host) HostStatus {
	s := HostStatus{Host: h, State: On, Isolated: b.isolated(h)}
	for _, name := range b.daemons(h.Name) {
		if _, ok := b.running(h.Name, name); ok && name != engineName {
			s.Daemons = append(s.Daemons, name)
		}
	}
	if !isNamespace(netnsPath(h.Name)) {
		s.State = Off
		return s
	}
	if frozen, err := b.groups.frozen(b.group(h.Name)); err == nil && frozen {
		s.State = Frozen
		return s
	}
	var info struct {
		ServerVersion     string
		ContainersRunning int
	}
	if err := b.ask(ctx, h, "/info", &info); err != nil {
		s.State = EngineDown
		return s
	}
	s.Engine, s.Containers = info.ServerVersion, info.ContainersRunning
	return s
}

func (b *Bed) isolated(h Host) (down bool) {
	if !isNamespace(netnsPath(b.switchOf(h.Region))) {
		return false
	}
	_ = inside(b.switchOf(h.Region), func(nl *netlink.Handle) error {
		l, err := nl.LinkByName(b.port(h))
		down = err == nil && l.Attrs().RawFlags&unix.IFF_UP == 0
		return err // no port: the host is off, not isolated
	})
	return down
}

// Usage is what a host, or one process of it, uses.
type Usage struct {
	Resident uint64        `json:"residentBytes"` // memory that is no page cache
	CPU      time.Duration `json:"cpuNanoseconds"`
}

// HostUsage is the whole host's usage since it was made (power cuts included), and that of each daemon that runs.
type HostUsage struct {
	Host    string           `json:"host"`
	Total   Usage            `json:"total"`
	Daemons map[string]Usage `json:"daemons"` // by name; "dockerd" is the engine
}

// Mem measures every host.
func (b *Bed) Mem() ([]HostUsage, error) {
	hosts, err := b.hosts()
	if err != nil {
		return nil, err
	}
	var all []HostUsage
	for _, h := range hosts {
		u := HostUsage{Host: h.Name, Daemons: map[string]Usage{}}
		if u.Total.Resident, u.Total.CPU, err = b.groups.usage(b.group(h.Name)); err != nil {
			return nil, fmt.Errorf("usage of %s: %w", h.Name, err)
		}
		for _, name := range b.daemons(h.Name) {
			pid, ok := b.running(h.Name, name)
			if !ok {
				continue
			}
			if of, err := usageOf(pid); err == nil { // it may end while we look
				u.Daemons[name] = of
			}
		}
		all = append(all, u)
	}
	return all, nil
}

// usageOf reads one process; the kernel counts its time in hundredths of a second.
func usageOf(pid int) (Usage, error) {
	kib, err := statusKiB(pid, "VmRSS:")
	if err != nil {
		return Usage{}, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest) // f[0] is the state, field 3 of proc(5)
	if len(f) < 13 {
		return Usage{}, fmt.Errorf("/proc/%d/stat is short", pid)
	}
	user, err1 := strconv.ParseUint(f[11], 10, 64)
	system, err2 := strconv.ParseUint(f[12], 10, 64)
	return Usage{Resident: kib << 10, CPU: time.Duration(user+system) * 10 * time.Millisecond}, errors.Join(err1, err2)
}

func statusKiB(pid int, key string) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == key {
			return strconv.ParseUint(f[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("process %d has no %s", pid, key)
}
