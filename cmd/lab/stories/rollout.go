package stories

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orpheus-mesh/orpheus/cmd/lab/demo"
	"github.com/orpheus-mesh/orpheus/cmd/lab/images"
	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
	"github.com/orpheus-mesh/orpheus/cmd/lab/mesh"
)

// Rollout updates the front end to version 2 under load, and with undo goes back; both must cost no request.
func (s *Stage) Rollout(ctx context.Context, rate float64, hosts []string, undo bool) (load.Report, error) {
	change := []string{"-n", demo.Namespace, "set", "image", "deployment/frontend", "frontend=" + images.FrontendV2}
	want := images.FrontendV2
	if undo {
		change, want = []string{"-n", demo.Namespace, "rollout", "undo", "deployment/frontend"}, images.FrontendV1
	}
	host := hosts[0]
	return s.underLoad(ctx, rate, time.Second, 2*time.Second, hosts, func() error {
		if _, err := s.M.Kubectl(ctx, host, change...); err != nil {
			return err
		}
		if _, err := s.M.Kubectl(ctx, host, "-n", demo.Namespace, "rollout", "status", "deployment/frontend", "--timeout=120s"); err != nil {
			return err
		}
		return s.runsImage(ctx, host, "frontend", want)
	})
}

func (s *Stage) runsImage(ctx context.Context, host, app, image string) error {
	client, err := s.M.Client(ctx, host)
	if err != nil {
		return err
	}
	return mesh.Eventually(ctx, 30*time.Second, "only "+image+" runs", func() error {
		pods, err := client.CoreV1().Pods(demo.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
		if err != nil {
			return err
		}
		for _, p := range pods.Items {
			if p.DeletionTimestamp == nil && p.Spec.Containers[0].Image != image {
				return fmt.Errorf("pod %s has %s", p.Name, p.Spec.Containers[0].Image)
			}
		}
		return nil
	})
}

// Crash kills the process of a container of the back end and waits until it is restarted and ready.
func (s *Stage) Crash(ctx context.Context, host string) error {
	if err := s.steady(ctx, host); err != nil { // a surplus pod would go before it is restarted
		return err
	}
	client, err := s.M.Client(ctx, host)
	if err != nil {
		return err
	}
	list, err := client.CoreV1().Pods(demo.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=backend", FieldSelector: "status.phase=Running"})
	if err != nil {
		return err
	}
	if len(list.Items) == 0 {
		return errors.New("the back end does not run")
	}
	list.Items = slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		return !isReady(&p) || p.DeletionTimestamp != nil || p.Status.ContainerStatuses[0].State.Running == nil || time.Since(p.Status.ContainerStatuses[0].State.Running.StartedAt.Time) < time.Second || p.Spec.NodeName != host
	})
	if len(list.Items) == 0 {
		return errors.New("no pod of the back end is ready on " + host)
	}
	p := list.Items[0]
	before := restarts(&p)
	return s.step("process of "+p.Name+" killed on "+p.Spec.NodeName+": restarted and ready", func() error {
		_, id, _ := strings.Cut(p.Status.ContainerStatuses[0].ContainerID, "://")
		if _, err := s.M.Bed.Exec(ctx, p.Spec.NodeName, "docker", "-H", "unix://"+s.M.Bed.Socket(p.Spec.NodeName), "kill", "-s", "KILL", id); err != nil {
			return err
		}
		return mesh.Eventually(ctx, 60*time.Second, "restarted", func() error {
			now, err := client.CoreV1().Pods(demo.Namespace).Get(ctx, p.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if restarts(now) <= before || !isReady(now) {
				return fmt.Errorf("%d restarts, ready %t", restarts(now), isReady(now))
			}
			return nil
		})
	})
}

func restarts(p *corev1.Pod) (n int32) {
	for _, c := range p.Status.ContainerStatuses {
		n += c.RestartCount
	}
	return n
}

// GivesWork scales the back end up and waits until a host, which all others know to be Ready, runs a share of it.
func (s *Stage) GivesWork(ctx context.Context, host string) error {
	return s.step("back end scaled to 6: "+host+" gets its share", func() error {
		client, err := s.M.Client(ctx, host)
		if err != nil {
			return err
		}
		hosts, err := s.M.Bed.Hosts()
		if err != nil {
			return err
		}
		for _, h := range hosts { // any of them may be the home that decides
			if _, runs := s.M.PID(h.Name); !runs {
				continue
			}
			if err := s.nodeReady(ctx, h.Name, host); err != nil {
				return err
			}
		}
		if _, err := s.M.Kubectl(ctx, host, "-n", demo.Namespace, "scale", "deployment/backend", "--replicas=6"); err != nil {
			return err
		}
		return mesh.Eventually(ctx, 60*time.Second, host+" runs a Ready pod", func() error {
			list, err := client.CoreV1().Pods(demo.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + host})
			if err != nil {
				return err
			}
			for i := range list.Items {
				if isReady(&list.Items[i]) {
					return nil
				}
			}
			return fmt.Errorf("%d pods there, none Ready", len(list.Items))
		})
	})
}
