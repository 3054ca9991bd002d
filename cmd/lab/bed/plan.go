package bed

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Host is one machine of the lab.
type Host struct {
	Name   string     `json:"name"`
	Number int        `json:"number"` // from 1
	Region int        `json:"region"` // from 1
	Addr   netip.Addr `json:"addr"`
}

// plan is the arithmetic of names and addresses; it touches nothing.
type plan struct {
	dir, prefix  string
	net, regions int
}

func (p plan) host(n int) Host {
	r := (n-1)%p.regions + 1
	return Host{Name: p.prefix + strconv.Itoa(n), Number: n, Region: r, Addr: p.addr(r, 10+n)}
}

func (p plan) addr(region, last int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(p.net + region), 0, byte(last)})
}

func (p plan) gateway(region int) netip.Addr { return p.addr(region, 1) }
func (p plan) outside(region int) netip.Addr { return p.addr(region, 2) }

// mac is fixed, so that a host that reboots is still known to its neighbours' caches.
func (p plan) mac(h Host) net.HardwareAddr {
	return net.HardwareAddr{0x02, 0x4f, byte(p.net), byte(h.Region), 0, byte(h.Number)}
}

func (p plan) switchOf(region int) string { return fmt.Sprintf("%s-sw%d", p.prefix, region) }
func (p plan) router() string             { return p.prefix + "-router" }
func (p plan) client() string             { return p.prefix + "-client" }
func (p plan) port(h Host) string         { return "p" + strconv.Itoa(h.Number) }

// infrastructure tells whether name is a namespace of this lab that is no host.
func (p plan) infrastructure(name string) bool {
	number, ok := strings.CutPrefix(name, p.prefix+"-sw")
	return name == p.router() || name == p.client() || ok && isNumber(number)
}

// number is the host's number when name is a host of this lab.
func (p plan) number(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, p.prefix)
	if !ok || !isNumber(digits) {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil && n >= 1 && n <= maxHosts
}

func isNumber(s string) bool {
	return s != "" && s[0] != '0' && strings.Trim(s, "0123456789") == ""
}

// path is a file of one place (a host, the client or the router).
func (p plan) path(place string, elem ...string) string {
	return filepath.Join(append([]string{p.dir, place}, elem...)...)
}

// hosts are the machines that exist, running or not: those that have a directory.
func (p plan) hosts() ([]Host, error) {
	entries, err := os.ReadDir(p.dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("list hosts: %w", err)
	}
	var hosts []Host
	for _, e := range entries {
		if n, ok := p.number(e.Name()); ok && e.IsDir() {
			hosts = append(hosts, p.host(n))
		}
	}
	slices.SortFunc(hosts, func(a, b Host) int { return a.Number - b.Number })
	return hosts, nil
}

// find takes "m2" or "2".
func (p plan) find(name string) (Host, error) {
	hosts, err := p.hosts()
	if err != nil {
		return Host{}, err
	}
	var names []string
	for _, h := range hosts {
		if name == h.Name || name == strconv.Itoa(h.Number) {
			return h, nil
		}
		names = append(names, h.Name)
	}
	if len(names) == 0 {
		return Host{}, fmt.Errorf("host %q: no lab stands in %s, run `lab up`", name, p.dir)
	}
	return Host{}, fmt.Errorf("host %q is not in the lab, there are %s", name, strings.Join(names, ", "))
}

// place takes what find takes, and the two places that have processes but no engine: "client" and "router".
func (p plan) place(name string) (string, error) {
	switch name {
	case "client", p.client():
		return p.client(), nil
	case "router", p.router():
		return p.router(), nil
	}
	h, err := p.find(name)
	return h.Name, err
}
