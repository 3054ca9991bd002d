package probes

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/probe"
	grpcprobe "k8s.io/kubernetes/pkg/probe/grpc"
	httpprobe "k8s.io/kubernetes/pkg/probe/http"
	tcpprobe "k8s.io/kubernetes/pkg/probe/tcp"

	"github.com/orpheus-mesh/orpheus/node/docker"
)

// Executor runs a command in a container and gives its exit code.
type Executor interface {
	Exec(ctx context.Context, id string, cmd []string, s docker.Streams) (int, error)
}

// Checker asks once. It uses the kubelet's own probers, so that what passes there passes here.
type Checker struct {
	exec Executor
	http httpprobe.Prober
	tcp  tcpprobe.Prober
	grpc grpcprobe.Prober
}

// NewChecker makes a checker whose commands run by exec.
func NewChecker(exec Executor) *Checker {
	return &Checker{exec: exec, http: httpprobe.New(false), tcp: tcpprobe.New(), grpc: grpcprobe.New()}
}

// outputMost bounds what is kept of a command's output.
const outputMost = 10 << 10

// Check asks the container once and blocks no longer than the probe's timeout. An error means that there was no way to ask.
func (c *Checker) Check(ctx context.Context, t Target, p *v1.Probe) (ok bool, said string, err error) {
	timeout := time.Duration(max(p.TimeoutSeconds, 1)) * time.Second
	var res probe.Result
	switch {
	case p.Exec != nil:
		return c.command(ctx, t, p.Exec.Command, timeout)
	case p.HTTPGet != nil:
		req, err := httpprobe.NewRequestForHTTPGetAction(p.HTTPGet, t.Container, t.Address, "probe")
		if err != nil {
			return false, "", err
		}
		res, said, err = c.http.Probe(req, timeout)
		return passed(res), said, err
	case p.TCPSocket != nil:
		port, err := probe.ResolveContainerPort(p.TCPSocket.Port, t.Container)
		if err != nil {
			return false, "", err
		}
		host := p.TCPSocket.Host
		if host == "" {
			host = t.Address
		}
		res, said, err = c.tcp.Probe(host, port, timeout)
		return passed(res), said, err
	case p.GRPC != nil:
		service := ""
		if p.GRPC.Service != nil {
			service = *p.GRPC.Service
		}
		res, said, err = c.grpc.Probe(t.Address, service, int(p.GRPC.Port), timeout)
		return passed(res), said, err
	}
	return true, "", nil
}

func passed(r probe.Result) bool { return r == probe.Success || r == probe.Warning }

func (c *Checker) command(ctx context.Context, t Target, cmd []string, timeout time.Duration) (bool, string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	out := &bounded{}
	code, err := c.exec.Exec(ctx, t.ID, cmd, docker.Streams{Out: out, Err: out})
	switch {
	case ctx.Err() != nil:
		return false, fmt.Sprintf("command %q timed out after %s", strings.Join(cmd, " "), timeout), nil
	case err != nil:
		return false, "", err
	}
	return code == 0, strings.TrimSpace(out.String()), nil
}

// bounded keeps the first bytes and swallows the rest, so that a chatty command is not blocked.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if room := outputMost - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
