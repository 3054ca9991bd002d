package stories

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
	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
)

// PowerCut is what the loss of a host cost. Times are from the moment of the cut, as a survivor saw them.
type PowerCut struct {
	Victim    string
	Pods      int           // of the application that died with it
	Suspected time.Duration // until its pods were shown as not Ready
	Dead      time.Duration // until its node was shown as lost
	Withdrawn time.Duration // until its addresses took no more traffic
	Ready     time.Duration // until as many pods as before were Ready on the survivors
	Load      load.Report
}

// CutPower kills a host that runs part of the application, but not its database, under constant load through the others.
func (s *Stage) CutPower(ctx context.Context, rate float64, after time.Duration, hosts []string) (cut PowerCut, err error) {
	witness, victim, err := s.cast(ctx, hosts)
	if err != nil {
		return cut, err
	}
	cut.Victim = victim
	survivors := slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return h == victim })
	client, err := s.M.Client(ctx, witness)
	if err != nil {
		return cut, err
	}
	watchCtx, stop := context.WithCancel(ctx)
	defer stop()
	o, err := observe(watchCtx, client, demo.Namespace)
	if err != nil {
		return cut, err
	}
	cut.Load, err = s.underLoad(ctx, rate, 2*time.Second, after, survivors, func() error { return s.cut(ctx, o, &cut) })
	return cut, err
}

func (s *Stage) cut(ctx context.Context, o *observer, cut *PowerCut) error {
	want := map[string]int{}
	var lost []string
	o.mu.Lock()
	for _, app := range []string{"frontend", "backend"} {
		want[app] = len(o.ready(app, ""))
	}
	for _, p := range o.pods {
		if p.Spec.NodeName == cut.Victim {
			lost = append(lost, p.Status.PodIP)
		}
	}
	o.mu.Unlock()
	cut.Pods = len(lost)
	start := time.Now()
	if err := s.M.Bed.Poweroff(ctx, cut.Victim); err != nil {
		return err
	}
	note := func() { // what shows on the way
		for after, reached := range map[*time.Duration]bool{&cut.Suspected: len(lost) > 0 && o.doubted(cut.Victim), &cut.Dead: o.lost(cut.Victim)} {
			if reached && *after == 0 {
				*after = time.Since(start)
			}
		}
	}
	at, err := o.until(ctx, 30*time.Second, "endpoints of "+cut.Victim+" withdrawn", func() error {
		note()
		serving := o.serving()
		for _, ip := range lost {
			if serving[ip] {
				return fmt.Errorf("%s still takes traffic", ip)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	cut.Withdrawn = at.Sub(start)
	at, err = o.until(ctx, 60*time.Second, "replacements Ready", func() error {
		note()
		for app, n := range want {
			if got := len(o.ready(app, cut.Victim)); got < n {
				return fmt.Errorf("%s has %d ready of %d", app, got, n)
			}
		}
		return nil
	})
	cut.Ready = at.Sub(start)
	return err
}

// cast finds a host to die (it runs pods of the application, and not the database) and one to watch (which runs on).
func (s *Stage) cast(ctx context.Context, hosts []string) (witness, victim string, err error) {
	client, err := s.M.Client(ctx, hosts[0])
	if err != nil {
		return "", "", err
	}
	pods, database, err := runs(ctx, client)
	if err != nil {
		return "", "", err
	}
	best := 0
	for _, h := range hosts {
		if h != database && pods[h] > best {
			victim, best = h, pods[h]
		}
	}
	for _, h := range hosts {
		if h != victim {
			witness = h
		}
	}
	if victim == "" || witness == "" {
		return "", "", errors.New("no host runs pods of the application apart from the database's")
	}
	return witness, victim, nil
}

// runs counts the application's pods by host and finds the database's.
func runs(ctx context.Context, client kubernetes.Interface) (pods map[string]int, database string, err error) {
	list, err := client.CoreV1().Pods(demo.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, "", err
	}
	pods = map[string]int{}
	for _, p := range list.Items {
		if p.Status.Phase != corev1.PodRunning {
			continue
		}
		if p.Labels["app"] == "redis" {
			database = p.Spec.NodeName
		} else {
			pods[p.Spec.NodeName]++
		}
	}
	return pods, database, nil
}

// Return boots a host whose power was cut and waits until it is a Ready node again.
func (s *Stage) Return(ctx context.Context, host string) error {
	return s.step(host+" boots again and is a Ready node", func() error {
		if err := s.M.Bed.Boot(ctx, host); err != nil {
			return err
		}
		if err := s.M.Up(ctx, host, ""); err != nil {
			return err
		}
		return s.nodeReady(ctx, host, host)
	})
}
