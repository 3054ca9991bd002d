package stories

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orpheus-mesh/orpheus/cmd/lab/demo"
	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
)

// Restart ends the daemon of a host gracefully and starts it again, under load on the node port of the other hosts: the
// containers there must not notice, nor those who use them.
func (s *Stage) Restart(ctx context.Context, rate float64, host string, others []string) (load.Report, error) {
	client, err := s.M.Client(ctx, others[0])
	if err != nil {
		return load.Report{}, err
	}
	if err := s.steady(ctx, others[0]); err != nil {
		return load.Report{}, err
	}
	before, err := s.containers(ctx, others[0], host)
	if err != nil {
		return load.Report{}, err
	}
	if len(before) == 0 {
		return load.Report{}, fmt.Errorf("%s runs nothing", host)
	}
	watchCtx, stop := context.WithCancel(ctx)
	defer stop()
	o, err := observe(watchCtx, client, demo.Namespace)
	if err != nil {
		return load.Report{}, err
	}
	r, err := s.underLoad(ctx, rate, time.Second, 3*time.Second, others, func() error {
		if err := s.M.Stop(ctx, host); err != nil {
			return err
		}
		if err := s.M.Up(ctx, host, ""); err != nil {
			return err
		}
		return s.nodeReady(ctx, host)
	})
	if err != nil {
		return r, err
	}
	after, err := s.containers(ctx, others[0], host)
	if err != nil {
		return r, err
	}
	for id, name := range before {
		if after[id] == "" {
			err = errors.Join(err, fmt.Errorf("container %s of %s did not survive the daemon's restart", id, name))
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for name, p := range o.pods {
		if p.Spec.NodeName == host && o.faltered[name] {
			err = errors.Join(err, fmt.Errorf("pod %s was taken for not ready meanwhile", name))
		}
	}
	return r, err
}

// containers are the running containers of the application on a host, by ID, with their pods' names.
func (s *Stage) containers(ctx context.Context, through, host string) (map[string]string, error) {
	client, err := s.M.Client(ctx, through)
	if err != nil {
		return nil, err
	}
	list, err := client.CoreV1().Pods(demo.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + host})
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, p := range list.Items {
		for _, c := range p.Status.ContainerStatuses {
			if p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
				out[c.ContainerID] = p.Name
			}
		}
	}
	return out, nil
}
