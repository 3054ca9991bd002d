package figures

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/orpheus-mesh/orpheus/cmd/lab/images"
	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
)

// JoinRun is one new host. Times are from the start of `orpheus up --join`, as another host saw them.
type JoinRun struct {
	Host   string        `json:"host"`
	Daemon load.Duration `json:"daemon"` // its own word that it is ready
	Node   load.Duration `json:"node"`   // a Ready node
	Pod    load.Duration `json:"pod"`    // a Ready pod, of an image that it did not have
}

// Join boots a new host, joins it with a token, and waits until it runs a pod that waits for it; then the host is taken away again.
// What stays of it is its name among the members, as one that is dead.
func (l *Lab) Join(ctx context.Context, n int) (*Result, error) {
	r, done := l.figure("join")
	defer done()
	var runs []JoinRun
	err := l.repeat(ctx, r, n, func(int) error {
		run, err := l.join(ctx)
		if err != nil {
			return err
		}
		runs = append(runs, run)
		l.Say("  %s: daemon %.2f s, node Ready %.2f s, pod Ready %.2f s", run.Host, seconds(run.Daemon), seconds(run.Node), seconds(run.Pod))
		return nil
	})
	r.Runs = runs
	r.Rows = []Row{
		row("join of a new host to a pod Ready on it", "s", each(runs, func(j JoinRun) float64 { return seconds(j.Pod) })...).atMost(anything, 10),
		row("join of a new host to Ready node", "s", each(runs, func(j JoinRun) float64 { return seconds(j.Node) })...),
		row("join of a new host to its daemon ready", "s", each(runs, func(j JoinRun) float64 { return seconds(j.Daemon) })...),
	}
	return r, err
}

const joinPod = "figures-join"

func (l *Lab) join(ctx context.Context) (run JoinRun, err error) {
	witness := l.Hosts[0]
	client, err := l.client(ctx, witness)
	if err != nil {
		return run, err
	}
	h, err := l.M.Bed.AddHost(ctx)
	if err != nil {
		return run, err
	}
	run.Host = h.Name
	defer mend(ctx, &err, "take "+h.Name+" away", func(ctx context.Context) error { return l.takeAway(ctx, client, h.Name) })
	if err := l.waitingPod(ctx, client, h.Name); err != nil {
		return run, err
	}
	token, err := l.M.Token(ctx, witness)
	if err != nil {
		return run, err
	}
	start := time.Now()
	if err := l.M.Start(ctx, h.Name, token); err != nil {
		return run, err
	}
	if err := l.daemonReady(ctx, h.Name, time.Minute); err != nil {
		return run, err
	}
	run.Daemon = load.Duration(time.Since(start))
	err = until(ctx, time.Minute, 20*time.Millisecond, "node "+h.Name+" Ready", func(ctx context.Context) error {
		n, err := client.CoreV1().Nodes().Get(ctx, h.Name, metav1.GetOptions{})
		if err == nil && !nodeReady(n) {
			err = errors.New("it is not")
		}
		return err
	})
	if err != nil {
		return run, err
	}
	run.Node = load.Duration(time.Since(start))
	err = until(ctx, time.Minute, 20*time.Millisecond, "a pod Ready on "+h.Name, func(ctx context.Context) error {
		p, err := client.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, joinPod, metav1.GetOptions{})
		if err == nil && !podReady(p) {
			err = fmt.Errorf("it is on host %q, %s", p.Spec.NodeName, p.Status.Phase)
		}
		return err
	})
	run.Pod = load.Duration(time.Since(start))
	return run, err
}

// waitingPod makes a pod that only the coming host may run.
func (l *Lab) waitingPod(ctx context.Context, client kubernetes.Interface, host string) error {
	second := int64(1)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: joinPod},
		Spec: corev1.PodSpec{
			NodeSelector:                  map[string]string{corev1.LabelHostname: host},
			TerminationGracePeriodSeconds: &second,
			Containers:                    []corev1.Container{{Name: "wait", Image: images.Busybox, Command: []string{"sleep", "1d"}}},
		},
	}
	_, err := client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, p, metav1.CreateOptions{})
	return err
}

// takeAway ends a host for good: its pod, its power, its node, its disk. It returns when the others hold it for dead, since only
// then may another host have its name.
func (l *Lab) takeAway(ctx context.Context, client kubernetes.Interface, host string) error {
	now := int64(0)
	err := client.CoreV1().Pods(metav1.NamespaceDefault).Delete(ctx, joinPod, metav1.DeleteOptions{GracePeriodSeconds: &now})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err := l.M.Bed.Poweroff(ctx, host); err != nil {
		return err
	}
	l.forget(host)
	if err := l.untilDead(ctx, host); err != nil {
		return err
	}
	err = until(ctx, 30*time.Second, 200*time.Millisecond, "node "+host+" is gone", func(ctx context.Context) error {
		err := client.CoreV1().Nodes().Delete(ctx, host, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is still there"), err)
	})
	return errors.Join(err, l.M.Bed.Remove(ctx, host))
}

func (l *Lab) untilDead(ctx context.Context, host string) error {
	for _, h := range l.Hosts {
		c, err := l.control(h)
		if err != nil {
			return err
		}
		err = until(ctx, time.Minute, 100*time.Millisecond, h+" holds "+host+" for dead", func(ctx context.Context) error {
			members, err := c.Members(ctx)
			if err != nil {
				return err
			}
			for _, m := range members {
				if m.Name == host && (m.State == "alive" || m.State == "suspect") {
					return fmt.Errorf("it is %s", m.State)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
