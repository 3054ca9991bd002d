package figures

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/orpheus-mesh/orpheus/cmd/lab/bed"
	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
)

const (
	spreadNamespace = "figures-spread"
	appliers        = 32  // requests under way
	spreadBytes     = 200 // of one object's data
)

// SpreadRun is many objects applied through one host, and what the mesh needs to hold them.
type SpreadRun struct {
	Host    string        `json:"host"`
	Objects int           `json:"objects"`
	Applied load.Duration `json:"applied"`        // until the last acknowledgement
	Equal   load.Duration `json:"equal"`          // from there until all replicas had one fingerprint
	Missing []string      `json:"missing"`        // objects that were acknowledged, and that a host did not show then
	Pods    int           `json:"pods"`           // where there are some, their traffic would be counted
	Window  load.Duration `json:"window"`         // of rest
	Hosts   []SpreadHost  `json:"rest,omitempty"` // of a mesh without pods
}

// SpreadHost is what one host's link carried at rest, in bytes a second.
type SpreadHost struct {
	Host     string  `json:"host"`
	Sent     float64 `json:"sent"`
	Received float64 `json:"received"`
}

// Spread applies objects through one host, waits until all replicas are equal, and counts what the hosts' links carry at rest. The
// latter says something of a mesh without pods only.
func (l *Lab) Spread(ctx context.Context, n, objects int, window time.Duration) (_ *Result, err error) {
	r, done := l.figure("spread")
	defer done()
	if len(l.Hosts) < 2 {
		return r, errors.New("one host has nobody to spread to: begin with --hosts 3")
	}
	var runs []SpreadRun
	defer mend(ctx, &err, "clear away what was applied", l.clearSpread)
	err = l.repeat(ctx, r, n, func(i int) error {
		run := SpreadRun{Host: turned(l.Hosts, i)[0], Objects: objects}
		err := l.spread(ctx, window, &run)
		if err == nil {
			runs = append(runs, run)
		}
		return err
	})
	r.Runs, r.Rows = runs, spreadRows(runs)
	for _, s := range runs {
		r.Notes = append(r.Notes, fmt.Sprintf("%d objects of %d B applied to %s in %.1f s, %.0f a second", s.Objects, spreadBytes, s.Host, seconds(s.Applied), float64(s.Objects)/seconds(s.Applied)))
		if s.Pods > 0 {
			r.Notes = append(r.Notes, fmt.Sprintf("traffic at rest was not measured: %d pods run, and theirs would be counted. `figures spread --hosts 3` on a lab without an application does", s.Pods))
		}
	}
	return r, err
}

func (l *Lab) spread(ctx context.Context, window time.Duration, run *SpreadRun) error {
	if err := l.clearSpread(ctx); err != nil {
		return err
	}
	client, err := l.client(ctx, run.Host)
	if err != nil {
		return err
	}
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: spreadNamespace}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, space, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := l.applySpread(ctx, client, run); err != nil {
		return err
	}
	if err := l.everywhere(ctx, run); err != nil {
		return err
	}
	pods, err := l.allPods(ctx, run.Host)
	if err != nil {
		return err
	}
	if run.Pods = len(pods); run.Pods > 0 {
		return nil
	}
	return l.atRest(ctx, window, run)
}

// spreadRows: traffic bears a promise where three daemons are measured, which it was given for: each checks all others.
func spreadRows(runs []SpreadRun) []Row {
	var hosts []SpreadHost
	three := true
	for _, s := range runs {
		hosts = append(hosts, s.Hosts...)
		three = three && len(s.Hosts) <= 3
	}
	rows := []Row{
		row("last acknowledgement to equal fingerprints", "s", each(runs, func(s SpreadRun) float64 { return seconds(s.Equal) })...).atMost(anything, 2),
		row("acknowledged objects that a host did not show then", "", each(runs, func(s SpreadRun) float64 { return float64(len(s.Missing)) })...).atMost(0, 0),
	}
	if len(hosts) == 0 {
		return rows
	}
	for _, t := range []Row{
		row("at rest, a daemon sends", "kB/s", each(hosts, func(h SpreadHost) float64 { return h.Sent / 1e3 })...),
		row("at rest, a daemon receives", "kB/s", each(hosts, func(h SpreadHost) float64 { return h.Received / 1e3 })...),
	} {
		if three {
			t = t.atMost(2, 2)
		}
		rows = append(rows, t)
	}
	return rows
}

// applySpread has the objects applied by several clients at once, each waiting for its answer.
func (l *Lab) applySpread(ctx context.Context, client kubernetes.Interface, run *SpreadRun) error {
	var next atomic.Int64
	start := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for range appliers {
		g.Go(func() error {
			for i := int(next.Add(1)); i <= run.Objects; i = int(next.Add(1)) {
				name := fmt.Sprintf("object-%06d", i)
				m := applycorev1.ConfigMap(name, spreadNamespace).WithData(map[string]string{"text": filling(i)})
				if _, err := client.CoreV1().ConfigMaps(spreadNamespace).Apply(ctx, m, metav1.ApplyOptions{FieldManager: "figures"}); err != nil {
					return fmt.Errorf("apply %s to %s: %w", name, run.Host, err)
				}
			}
			return nil
		})
	}
	err := g.Wait()
	run.Applied = load.Duration(time.Since(start))
	return err
}

// filling is another text for every object.
func filling(i int) string {
	return strings.Repeat(fmt.Sprintf("%06d ", i), spreadBytes/7+1)[:spreadBytes]
}

// everywhere waits until all replicas have one fingerprint, and then asks every host for every object.
func (l *Lab) everywhere(ctx context.Context, run *SpreadRun) error {
	acknowledged := time.Now()
	if err := until(ctx, 2*time.Minute, 10*time.Millisecond, "all replicas have one fingerprint", l.oneRoot); err != nil {
		return err
	}
	run.Equal = load.Duration(time.Since(acknowledged))
	l.Say("  %d objects applied in %.1f s, equal everywhere %.3f s later", run.Objects, seconds(run.Applied), seconds(run.Equal))
	for _, h := range l.Hosts {
		client, err := l.client(ctx, h)
		if err != nil {
			return err
		}
		list, err := client.CoreV1().ConfigMaps(spreadNamespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		there := map[string]string{}
		for _, m := range list.Items {
			there[m.Name] = m.Data["text"]
		}
		for i := 1; i <= run.Objects; i++ {
			if name := fmt.Sprintf("object-%06d", i); there[name] != filling(i) {
				run.Missing = append(run.Missing, h+": "+name)
			}
		}
	}
	return nil
}

// atRest counts over the window, after a moment in which what the objects caused comes to its end.
func (l *Lab) atRest(ctx context.Context, window time.Duration, run *SpreadRun) error {
	rest := min(window, 30*time.Second)
	l.Say("  %s of rest, then %s of counting", rest, window)
	pause(ctx, rest)
	var ends [2]map[string]bed.Traffic
	start := time.Now()
	for i := range ends {
		if i > 0 {
			pause(ctx, window)
		}
		var err error
		if ends[i], err = l.M.Bed.Traffic(); err != nil {
			return err
		}
	}
	took := time.Since(start)
	run.Window = load.Duration(took)
	for _, h := range l.Hosts {
		from, to := ends[0][h], ends[1][h]
		run.Hosts = append(run.Hosts, SpreadHost{Host: h, Sent: float64(to.Sent-from.Sent) / took.Seconds(), Received: float64(to.Received-from.Received) / took.Seconds()})
	}
	return ctx.Err()
}

// clearSpread has patience: a busy machine deletes a hundred a second.
func (l *Lab) clearSpread(ctx context.Context) error {
	return l.clearNamespaceIn(ctx, spreadNamespace, 10*time.Minute)
}
