package linux

import (
	"context"
	"testing"

	"github.com/orpheus-mesh/orpheus/netmesh"
)

// BenchmarkAttach connects a pod and takes it off again.
func BenchmarkAttach(b *testing.B) {
	h, sandbox := newBox(b, "host"), newBox(b, "sandbox")
	p, err := New(Config{NetNS: h.path(), MTU: 1450})
	must(b, err)
	defer p.Close()
	a := Attachment{PodUID: "u", NetNS: sandbox.path(), Addr: netmesh.Gateway(cluster).Next()}
	for b.Loop() {
		must(b, p.Attach(context.Background(), a))
		b.StopTimer()
		must(b, p.Detach(context.Background(), a.PodUID))
		b.StartTimer()
	}
}
