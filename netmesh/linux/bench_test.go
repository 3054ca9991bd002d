package linux

import (
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/orpheus-mesh/orpheus/netmesh"
)

// manyServices is n services of three endpoints each.
func manyServices(n int) []netmesh.ServicePort {
	out := make([]netmesh.ServicePort, n)
	for i := range out {
		out[i] = netmesh.ServicePort{
			Service: fmt.Sprintf("default/s%05d", i), Protocol: netmesh.TCP, Port: 80,
			ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})},
		}
		for k := range 3 {
			out[i].Endpoints = append(out[i].Endpoints, netmesh.Endpoint{Addr: at(netip.AddrFrom4([4]byte{10, byte(33 + k), byte(i >> 8), byte(i)}), 8080)})
		}
	}
	return out
}

func benchTable(b *testing.B) (*table, netmesh.Picture) {
	if os.Getuid() != 0 {
		b.Skip("makes a network namespace: needs root")
	}
	h := newBox(b, "host")
	pic := netmesh.Picture{Self: netmesh.Node{ID: "a", PodCIDR: netmesh.CIDR(cluster, 24, 1)}, ClusterCIDR: cluster, ServiceCIDR: service, Services: manyServices(10_000)}
	t := newTable(int(h.ns))
	b.Cleanup(t.close)
	return t, pic
}

// BenchmarkLoad programs 10,000 services into an empty host.
func BenchmarkLoad(b *testing.B) {
	t, pic := benchTable(b)
	for b.Loop() {
		t.applied = nil
		if c, err := t.dial(); err == nil {
			c.AddTable(t.kernel)
			c.DelTable(t.kernel)
			must(b, c.Flush())
		}
		_, err := t.set(pic, netmesh.Compile(pic))
		must(b, err)
	}
}

// BenchmarkChange replaces one endpoint among 10,000 services: from Picture to kernel, and the kernel's part alone.
func BenchmarkChange(b *testing.B) {
	t, pic := benchTable(b)
	_, err := t.set(pic, netmesh.Compile(pic))
	must(b, err)
	var kernel time.Duration
	n := 0
	for b.Loop() {
		n++
		s := pic.Services[5000]
		s.Endpoints = append([]netmesh.Endpoint(nil), s.Endpoints...)
		s.Endpoints[1].Addr = at(s.Endpoints[1].Addr.Addr(), uint16(1024+n%60000))
		pic.Services[5000] = s
		program := netmesh.Compile(pic)
		begin := time.Now()
		_, err := t.set(pic, program)
		must(b, err)
		kernel += time.Since(begin)
	}
	b.ReportMetric(float64(kernel.Microseconds())/float64(n), "µs-diff+kernel/op")
	if t.rebuilt != 1 || t.reconciled != 1 {
		b.Errorf("%d rebuilds, %d comparisons: every change should have been a step", t.rebuilt, t.reconciled)
	}
}

// BenchmarkCompare reads 10,000 services back from the kernel and finds nothing to do, as after a restart.
func BenchmarkCompare(b *testing.B) {
	t, pic := benchTable(b)
	program := netmesh.Compile(pic)
	_, err := t.set(pic, program)
	must(b, err)
	for b.Loop() {
		t.applied = nil
		_, err := t.set(pic, program)
		must(b, err)
	}
	if t.rebuilt != 1 {
		b.Errorf("%d rebuilds", t.rebuilt)
	}
}

// BenchmarkLook is what the loop does twice a second when nothing happens.
func BenchmarkLook(b *testing.B) {
	t, pic := benchTable(b)
	_, err := t.set(pic, netmesh.Compile(pic))
	must(b, err)
	for b.Loop() {
		if moved, err := t.moved(); err != nil || moved {
			b.Fatal(moved, err)
		}
	}
}
