package figures

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/orpheus-mesh/orpheus/cmd/lab/demo"
	"github.com/orpheus-mesh/orpheus/node/control"
)

type imageRecord = control.Image

// Whole waits until nothing is left of what a run did: on every host every node is Ready and may be used, and the application has as many
// pods as it wants, all Ready, and no others.
func (l *Lab) Whole(ctx context.Context) error {
	start := time.Now()
	err := until(ctx, settleLimit, 500*time.Millisecond, "the lab is whole", func(ctx context.Context) error {
		for _, h := range l.Hosts {
			client, err := l.client(ctx, h)
			if err != nil {
				return err
			}
			if err := l.nodesReady(ctx, client); err != nil {
				return fmt.Errorf("seen from %s: %w", h, err)
			}
			if err := appWhole(ctx, client); err != nil {
				return fmt.Errorf("seen from %s: %w", h, err)
			}
		}
		return nil
	})
	if took := time.Since(start); err == nil && took > 3*time.Second {
		l.Say("  whole again after %.0f s", took.Seconds())
	}
	return err
}

func (l *Lab) nodesReady(ctx context.Context, client kubernetes.Interface) error {
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	usable := map[string]bool{}
	for i := range list.Items {
		n := &list.Items[i]
		usable[n.Name] = nodeReady(n) && !n.Spec.Unschedulable
	}
	for _, h := range l.Hosts {
		if !usable[h] {
			return fmt.Errorf("node %s is not Ready, or cordoned", h)
		}
	}
	return nil
}

func nodeReady(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

func podReady(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// appWhole compares the application's pods with what its Deployments and StatefulSets want.
func appWhole(ctx context.Context, client kubernetes.Interface) error {
	want := map[string]int{}
	deployments, err := client.AppsV1().Deployments(demo.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range deployments.Items {
		want[d.Name] = int(*d.Spec.Replicas)
	}
	sets, err := client.AppsV1().StatefulSets(demo.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, s := range sets.Items {
		want[s.Name] = int(*s.Spec.Replicas)
	}
	pods, err := client.CoreV1().Pods(demo.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	return podsAsWanted(want, pods.Items)
}

// podsAsWanted goes by the label app, which the application's pods all carry.
func podsAsWanted(want map[string]int, pods []corev1.Pod) error {
	if len(want) == 0 {
		return errors.New("the application is not deployed")
	}
	have := map[string]int{}
	for i := range pods {
		p := &pods[i]
		if !podReady(p) {
			return fmt.Errorf("pod %s is not Ready, or ends", p.Name)
		}
		have[p.Labels["app"]]++
	}
	for app, n := range want {
		if have[app] != n {
			return fmt.Errorf("%s has %d pods, wants %d", app, have[app], n)
		}
	}
	return nil
}

// cast is where the application's pods are.
type cast struct {
	database string                    // the host of the database, which is pinned there
	pods     map[string]map[string]int // by host and app, the database left out
	total    map[string]int            // by app
}

func (l *Lab) cast(ctx context.Context) (cast, error) {
	client, err := l.client(ctx, l.Hosts[0])
	if err != nil {
		return cast{}, err
	}
	list, err := client.CoreV1().Pods(demo.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return cast{}, err
	}
	return castOf(list.Items), nil
}

func castOf(pods []corev1.Pod) cast {
	c := cast{pods: map[string]map[string]int{}, total: map[string]int{}}
	for i := range pods {
		p := &pods[i]
		app, host := p.Labels["app"], p.Spec.NodeName
		if app == "redis" {
			c.database = host
			continue
		}
		if c.pods[host] == nil {
			c.pods[host] = map[string]int{}
		}
		c.pods[host][app]++
		c.total[app]++
	}
	return c
}

// victim is the host with most pods among those that do not run the database; with spared, it also holds no app whole, so that
// the application goes on without it. "" when there is none. The first of equals wins.
func (c cast) victim(hosts []string, spared bool) string {
	best, most := "", 0
	for _, h := range hosts {
		n, whole := 0, false
		for app, k := range c.pods[h] {
			n += k
			whole = whole || k == c.total[app]
		}
		if h != c.database && n > most && !(spared && whole) {
			best, most = h, n
		}
	}
	return best
}

// choose finds a victim, and spreads the application anew when none fits.
func (l *Lab) choose(ctx context.Context, hosts []string, spared bool) (string, error) {
	for attempt := range 4 {
		if err := l.Whole(ctx); err != nil {
			return "", err
		}
		c, err := l.cast(ctx)
		if err != nil {
			return "", err
		}
		if v := c.victim(hosts, spared); v != "" {
			return v, nil
		}
		if attempt == 3 {
			break
		}
		l.Say("  no host fits as it is: the deployments are restarted, which spreads them anew")
		if _, err := l.M.Kubectl(ctx, l.Hosts[0], "-n", demo.Namespace, "rollout", "restart", "deployment/frontend", "deployment/backend"); err != nil {
			return "", err
		}
		for _, d := range []string{"deployment/frontend", "deployment/backend"} {
			if _, err := l.M.Kubectl(ctx, l.Hosts[0], "-n", demo.Namespace, "rollout", "status", d, "--timeout=120s"); err != nil {
				return "", err
			}
		}
	}
	return "", errors.New("no host runs part of the application apart from the database's")
}
