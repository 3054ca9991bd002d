package stories

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orpheus-mesh/orpheus/cmd/lab/bed"
	"github.com/orpheus-mesh/orpheus/cmd/lab/demo"
	"github.com/orpheus-mesh/orpheus/cmd/lab/images"
	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
	"github.com/orpheus-mesh/orpheus/cmd/lab/mesh"
)

// Stage is a lab on which stories are acted, one after the other.
type Stage struct {
	M   *mesh.Mesh
	Say func(format string, args ...any) // progress, a line a call

	certificate []byte // PEM, of the demonstration's ingress
}

// step tells what happens and, when it is over, how long it took.
func (s *Stage) step(what string, do func() error) error {
	start := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	s.Say("  %-62s %6.2f s", what, time.Since(start).Seconds())
	return nil
}

// Found starts the first daemon on host and joins the others with a token each.
func (s *Stage) Found(ctx context.Context, first string, others ...string) error {
	if err := s.step("orpheus up on "+first+": a new mesh", func() error { return s.M.Up(ctx, first, "") }); err != nil {
		return err
	}
	for _, h := range others {
		if err := s.Join(ctx, first, h); err != nil {
			return err
		}
	}
	return nil
}

// Join lets one more host in, with a token that another one makes, and waits until it is a Ready node.
func (s *Stage) Join(ctx context.Context, member, host string) error {
	return s.step(host+" joins with a token from "+member+" and is a Ready node", func() error {
		token, err := s.M.Token(ctx, member)
		if err != nil {
			return err
		}
		if err := s.M.Up(ctx, host, token); err != nil {
			return err
		}
		return s.nodeReady(ctx, host, host)
	})
}

// nodeReady waits until a host's node is Ready in the eyes of another.
func (s *Stage) nodeReady(ctx context.Context, eye, host string) error {
	client, err := s.M.Client(ctx, eye)
	if err != nil {
		return err
	}
	return mesh.Eventually(ctx, 30*time.Second, "node "+host+" Ready, as "+eye+" sees it", func() error {
		n, err := client.CoreV1().Nodes().Get(ctx, host, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return errors.New("not Ready")
	})
}

// BuildImages makes the application's images on one host and shares them; the others have none of them.
func (s *Stage) BuildImages(ctx context.Context, host string) error {
	return s.step("images built on "+host+" only, and shared with the mesh", func() error {
		want := []string{images.Busybox, images.Redis, images.FrontendV1, images.FrontendV2, images.BackendV1, images.BackendV2}
		if err := images.Build(ctx, "unix://"+s.M.Bed.Socket(host), want...); err != nil {
			return err
		}
		for _, ref := range want {
			if _, err := s.M.Orpheus(ctx, host, nil, "image", "add", ref); err != nil {
				return err
			}
		}
		return nil
	})
}

// Deploy applies the to-do application through one node and waits until all of it is ready.
func (s *Stage) Deploy(ctx context.Context, host string) error {
	return s.step("kubectl apply of the to-do application to "+host+": all pods Ready", func() error {
		manifests, err := demo.Manifests()
		if err != nil {
			return err
		}
		secret, cert, err := demo.TLS(time.Now())
		if err != nil {
			return err
		}
		s.certificate = cert
		if err := s.M.Apply(ctx, host, string(manifests)+"---\n"+string(secret)); err != nil {
			return err
		}
		for _, what := range []string{"statefulset/redis", "deployment/backend", "deployment/frontend"} {
			if _, err := s.M.Kubectl(ctx, host, "-n", demo.Namespace, "rollout", "status", what, "--timeout=90s"); err != nil {
				return err
			}
		}
		return nil
	})
}

// client is an outside browser that connects to one host for whatever name it asks.
func (s *Stage) client(addr string) (*http.Client, error) {
	dial, err := s.M.Outside()
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.certificate)
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: pool},
		DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(to)
			if err != nil {
				return nil, err
			}
			return dial(ctx, network, net.JoinHostPort(addr, port))
		},
	}}, nil
}

// Everywhere asks every given host for the application: by HTTP and HTTPS through its ingress, and at its node port.
func (s *Stage) Everywhere(ctx context.Context, hosts ...string) error {
	return s.step("ingress (HTTP, HTTPS) and node port answer on "+strings.Join(hosts, ", "), func() error {
		for _, name := range hosts {
			h, err := s.M.Bed.Host(name)
			if err != nil {
				return err
			}
			if err := s.answers(ctx, h, append(front(h), "https://"+demo.Host+"/api/todos")...); err != nil {
				return fmt.Errorf("through %s: %w", name, err)
			}
		}
		return nil
	})
}

// front are the ways to the front end through a host, which needs no database.
func front(h bed.Host) []string {
	return []string{"http://" + demo.Host + "/", "https://" + demo.Host + "/", "http://" + net.JoinHostPort(h.Addr.String(), strconv.Itoa(demo.NodePort)) + "/"}
}

func (s *Stage) answers(ctx context.Context, h bed.Host, urls ...string) error {
	c, err := s.client(h.Addr.String())
	if err != nil {
		return err
	}
	for _, url := range urls {
		err := mesh.Eventually(ctx, 15*time.Second, url, func() error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return err
			}
			res, err := c.Do(req)
			if err != nil {
				return err
			}
			defer res.Body.Close()
			if body, _ := io.ReadAll(io.LimitReader(res.Body, 512)); res.StatusCode != http.StatusOK {
				return fmt.Errorf("%s: %s", res.Status, strings.TrimSpace(string(body)))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// underLoad asks the application's ingress on the given hosts while act runs, and a moment before and after.
func (s *Stage) underLoad(ctx context.Context, rate float64, before, after time.Duration, hosts []string, act func() error) (load.Report, error) {
	dial, err := s.M.Outside()
	if err != nil {
		return load.Report{}, err
	}
	cfg := load.Config{URL: "http://" + demo.Host + "/api/todos", Rate: rate, Duration: 10 * time.Minute, Dial: dial}
	for _, name := range hosts {
		h, err := s.M.Bed.Host(name)
		if err != nil {
			return load.Report{}, err
		}
		cfg.Targets = append(cfg.Targets, h.Addr)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	type result struct {
		report load.Report
		err    error
	}
	done := make(chan result, 1)
	go func() {
		r, err := load.Run(ctx, cfg)
		done <- result{r, err}
	}()
	pause(ctx, before)
	actErr := act()
	pause(ctx, after)
	stop()
	r := <-done
	return r.report, errors.Join(actErr, r.err)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
