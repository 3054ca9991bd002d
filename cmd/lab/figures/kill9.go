package figures

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
)

const killNamespace = "figures-kill9"

// KillRun is a daemon's life of sudden ends.
type KillRun struct {
	Host         string          `json:"host"`
	Kills        int             `json:"kills"`
	Ready        []load.Duration `json:"ready"` // from each start of the daemon until it was ready again
	Acknowledged int             `json:"acknowledged"`
	Refused      int             `json:"refused"` // creates without an answer, or with an error
	Lost         []string        `json:"lost"`    // acknowledged, and not there afterwards, by host
	Restarted    []string        `json:"restarted"`
}

// Kill9 kills the daemon of a host without warning again and again while objects are created through it, and looks for every acknowledged one
// on all hosts afterwards.
func (l *Lab) Kill9(ctx context.Context, kills int, rate float64) (_ *Result, err error) {
	r, done := l.figure("kill -9")
	defer done()
	run := KillRun{Host: l.Hosts[len(l.Hosts)-1]}
	if err := l.clearNamespace(ctx, killNamespace); err != nil {
		return r, err
	}
	client, err := l.client(ctx, l.Hosts[0])
	if err != nil {
		return r, err
	}
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: killNamespace}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, space, metav1.CreateOptions{}); err != nil {
		return r, err
	}
	defer mend(ctx, &err, "clear away what was created", func(ctx context.Context) error { return l.clearNamespace(ctx, killNamespace) })
	defer mend(ctx, &err, "bring the daemon back", func(ctx context.Context) error { return l.alive(ctx, run.Host) })
	before, err := l.podsOn(ctx, run.Host)
	if err != nil {
		return r, err
	}
	names, err := l.createWhile(ctx, &run, rate, func(created func() int) error { return l.killing(ctx, kills, created, &run) })
	if err != nil {
		return r, err
	}
	if err := l.lookFor(ctx, names, &run); err != nil {
		return r, err
	}
	if err := l.untouched(ctx, before, &run); err != nil {
		return r, err
	}
	r.Runs = []KillRun{run}
	r.Rows = []Row{
		row("acknowledged objects lost", "", float64(len(run.Lost))).atMost(0, 0),
		row("daemon ready again after kill -9", "s", each(run.Ready, seconds)...).atMost(anything, 3),
		row("containers restarted by it", "", float64(len(run.Restarted))).atMost(0, 0),
	}
	r.Notes = append(r.Notes, fmt.Sprintf("%s was killed %d times; %d objects acknowledged, %d creates refused or without an answer", run.Host, run.Kills, run.Acknowledged, run.Refused))
	return r, nil
}

// alive starts a daemon that does not run, and waits until it is ready.
func (l *Lab) alive(ctx context.Context, host string) error {
	if _, ok := l.M.PID(host); !ok {
		if err := l.M.Start(ctx, host, ""); err != nil {
			return err
		}
	}
	return l.daemonReady(ctx, host, time.Minute)
}

// killing waits in each life until the daemon has acknowledged something, and up to half a second more.
func (l *Lab) killing(ctx context.Context, kills int, created func() int, run *KillRun) error {
	for i := range kills {
		had := created()
		err := until(ctx, 30*time.Second, 10*time.Millisecond, "an object acknowledged by "+run.Host, func(context.Context) error {
			if created() == had {
				return errors.New("none yet")
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("after kill %d: %w", i, err)
		}
		pause(ctx, rand.N(500*time.Millisecond))
		if err := l.kill9(ctx, run.Host); err != nil {
			return err
		}
		run.Kills++
		start := time.Now()
		if err := l.M.Start(ctx, run.Host, ""); err != nil {
			return err
		}
		if err := l.daemonReady(ctx, run.Host, time.Minute); err != nil {
			return fmt.Errorf("after kill %d: %w", run.Kills, err)
		}
		run.Ready = append(run.Ready, load.Duration(time.Since(start)))
		if run.Kills%10 == 0 {
			l.Say("  killed %d times, %d objects acknowledged, last ready after %.2f s", run.Kills, created(), seconds(run.Ready[len(run.Ready)-1]))
		}
	}
	return nil
}

func (l *Lab) kill9(ctx context.Context, host string) error {
	pid, ok := l.M.PID(host)
	if !ok {
		return fmt.Errorf("the daemon of %s ended by itself: see its log", host)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill the daemon of %s: %w", host, err)
	}
	return until(ctx, 10*time.Second, 5*time.Millisecond, "end of the daemon of "+host, func(context.Context) error {
		if _, still := l.M.PID(host); still {
			return errors.New("it still runs")
		}
		return nil
	})
}

// lookFor asks every host for every name: the host itself at once, the others get a minute to hear of it.
func (l *Lab) lookFor(ctx context.Context, names []string, run *KillRun) error {
	for _, h := range l.Hosts {
		limit := time.Minute
		if h == run.Host {
			limit = time.Millisecond
		}
		var missing []string
		err := until(ctx, limit, 250*time.Millisecond, "every object is on "+h, func(context.Context) (err error) {
			if missing, err = l.missing(ctx, h, names); err == nil && len(missing) > 0 {
				err = fmt.Errorf("%d are not", len(missing))
			}
			return err
		})
		if err != nil && len(missing) == 0 {
			return err
		}
		for _, name := range missing {
			run.Lost = append(run.Lost, h+": "+name)
		}
	}
	return nil
}

func (l *Lab) missing(ctx context.Context, host string, names []string) (out []string, err error) {
	client, err := l.client(ctx, host)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	list, err := client.CoreV1().ConfigMaps(killNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	for _, m := range list.Items {
		there[m.Name] = m.Data["name"] == m.Name
	}
	for _, n := range names {
		if !there[n] {
			out = append(out, n)
		}
	}
	return out, nil
}

func (l *Lab) podsOn(ctx context.Context, host string) ([]corev1.Pod, error) {
	client, err := l.client(ctx, l.Hosts[0])
	if err != nil {
		return nil, err
	}
	list, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + host})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// untouched looks whether the host's containers outlived its daemon.
func (l *Lab) untouched(ctx context.Context, before []corev1.Pod, run *KillRun) error {
	now, err := l.podsOn(ctx, run.Host)
	if err != nil {
		return err
	}
	for i := range before {
		same := false
		for j := range now {
			same = same || before[i].UID == now[j].UID && sameContainers(&before[i], &now[j])
		}
		if !same {
			run.Restarted = append(run.Restarted, before[i].Namespace+"/"+before[i].Name)
		}
	}
	return nil
}
