package probes

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// What a container answers over the network decides, in each of the three tongues.
func TestProbesOverTheNetwork(t *testing.T) {
	healthy := health.NewServer()
	healthy.SetServingStatus("ailing", healthv1.HealthCheckResponse_NOT_SERVING)
	talks := grpc.NewServer()
	healthv1.RegisterHealthServer(talks, healthy)
	tongue := listen(t)
	go func() { _ = talks.Serve(tongue) }()
	t.Cleanup(talks.Stop)

	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/well" || r.Header.Get("X-Probe") != "yes" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(web.Close)

	closed := listen(t)
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	grpcOf := func(at net.Addr, service string) v1.ProbeHandler {
		return v1.ProbeHandler{GRPC: &v1.GRPCAction{Port: int32(port(t, at)), Service: &service}}
	}
	httpOf := func(path string) v1.ProbeHandler {
		return v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Path: path, Port: intstr.FromString("web"), HTTPHeaders: []v1.HTTPHeader{{Name: "X-Probe", Value: "yes"}}}}
	}
	tcpOf := func(at net.Addr) v1.ProbeHandler {
		return v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromInt(port(t, at))}}
	}
	target := Target{Address: "127.0.0.1", Container: &v1.Container{Ports: []v1.ContainerPort{{Name: "web", ContainerPort: int32(port(t, web.Listener.Addr()))}}}}
	for name, c := range map[string]struct {
		how  v1.ProbeHandler
		wait int32 // s; a gRPC prober waits for somebody to listen
		ok   bool
		said string
	}{
		"grpc, serving":           {grpcOf(tongue.Addr(), ""), 10, true, ""},
		"grpc, a service ails":    {grpcOf(tongue.Addr(), "ailing"), 10, false, "NOT_SERVING"},
		"grpc, a service unknown": {grpcOf(tongue.Addr(), "nobody"), 10, false, "unknown service"},
		"grpc, nobody listens":    {grpcOf(closed.Addr(), ""), 1, false, "127.0.0.1"},
		"http, well":              {httpOf("/well"), 10, true, ""},
		"http, unwell":            {httpOf("/unwell"), 10, false, "503"},
		"tcp, somebody listens":   {tcpOf(tongue.Addr()), 10, true, ""},
		"tcp, nobody listens":     {tcpOf(closed.Addr()), 10, false, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			ok, said, err := NewChecker(nil).Check(t.Context(), target, &v1.Probe{ProbeHandler: c.how, TimeoutSeconds: c.wait})
			if err != nil || ok != c.ok || !strings.Contains(said, c.said) {
				t.Errorf("%t, %q, %v; wanted %t and %q", ok, said, err, c.ok, c.said)
			}
		})
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func port(t *testing.T, a net.Addr) int {
	t.Helper()
	_, text, err := net.SplitHostPort(a.String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
