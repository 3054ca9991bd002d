package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/events"
	httpprobe "k8s.io/kubernetes/pkg/probe/http"

	"github.com/orpheus-mesh/orpheus/node/docker"
)

const (
	hookHTTPTimeout  = 30 * time.Second
	postStartTimeout = 10 * time.Minute
	hookOutputMost   = 4096
)

func hookClient() *http.Client {
	return &http.Client{Timeout: hookHTTPTimeout, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: hookTLS()}}
}

// postStart runs the hook beside the worker; the container counts as started when it is over. A hook that fails ends the
// container.
func (w *worker) postStart(ctx context.Context, pod *v1.Pod, c *v1.Container, id string) {
	host := w.address(pod)
	w.beside.Go(func() {
		call, cancel := context.WithTimeout(ctx, postStartTimeout)
		err := w.hook(call, host, c, id, c.Lifecycle.PostStart)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.warn(pod, c.Name, events.FailedPostStartHook, "PostStartHook failed: "+err.Error())
			if err := w.a.cfg.Docker.Signal(ctx, id, "SIGKILL"); err != nil {
				w.a.cfg.Log.Warn("container whose postStart hook failed not killed", "pod", podName(pod), "error", err)
			}
		}
		w.tell(ctx, func() { delete(w.hooks, id) })
	})
}

// preStop runs the hook for as long as the container's grace lasts.
func (w *worker) preStop(ctx context.Context, pod *v1.Pod, i instance, s *stopping) {
	c := containerOf(pod, i.Of)
	if c == nil || c.Lifecycle == nil || c.Lifecycle.PreStop == nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	w.beside.Go(func() { ended <- w.hook(ctx, s.host, c, i.ID, c.Lifecycle.PreStop) })
	for {
		timer := time.NewTimer(max(s.left(), 0))
		select {
		case err := <-ended:
			timer.Stop()
			if err != nil {
				w.warn(pod, c.Name, events.FailedPreStopHook, "PreStopHook failed: "+err.Error())
			}
			return
		case <-s.hurry:
			timer.Stop()
		case <-timer.C:
			w.warn(pod, c.Name, events.FailedPreStopHook, "PreStopHook did not complete within the grace period")
			return
		}
	}
}

// hook runs one handler to its end or its context's. host is where the pod answers.
func (w *worker) hook(ctx context.Context, host string, c *v1.Container, id string, h *v1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		out := &limited{left: hookOutputMost}
		code, err := w.a.cfg.Docker.Exec(ctx, id, h.Exec.Command, docker.Streams{Out: out, Err: out})
		if err != nil {
			return err
		}
		if code != 0 {
			return fmt.Errorf("command exited with %d: %s", code, bytes.TrimSpace(out.Bytes()))
		}
		return nil
	case h.HTTPGet != nil:
		return w.get(ctx, h.HTTPGet, c, host)
	case h.Sleep != nil:
		after(ctx, time.Duration(h.Sleep.Seconds)*time.Second)
		return ctx.Err()
	}
	return fmt.Errorf("this kind of hook is not supported: use exec, httpGet or sleep")
}

func (w *worker) get(ctx context.Context, get *v1.HTTPGetAction, c *v1.Container, host string) error {
	req, err := httpprobe.NewRequestForHTTPGetAction(get, c, host, "lifecycle")
	if err != nil {
		return err
	}
	res, err := w.a.http.Do(req.WithContext(ctx))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, hookOutputMost))
	if res.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s answered %s", req.URL, res.Status)
	}
	return nil
}

// limited keeps the first bytes and swallows the rest.
type limited struct {
	bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	l.Buffer.Write(p[:n])
	return len(p), nil
}

// hookTLS trusts any certificate, as the field's hooks and probes do: pods have certificates of their own making.
func hookTLS() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }
