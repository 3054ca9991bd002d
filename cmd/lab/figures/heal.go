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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
)

// together waits until all fingerprints are equal, and at the same time until everything has been the same everywhere.
func (l *Lab) together(ctx context.Context, v *views, healed time.Time, run *SplitRun) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := until(ctx, 2*time.Minute, 50*time.Millisecond, "all replicas have one fingerprint", l.oneRoot)
		run.Fingerprints = load.Duration(time.Since(healed))
		return err
	})
	g.Go(func() (err error) {
		run.Objects, err = v.same(ctx, 2*time.Minute)
		run.Identical = load.Duration(time.Since(healed))
		return err
	})
	return g.Wait()
}

func (l *Lab) oneRoot(ctx context.Context) error {
	var first string
	for _, h := range l.Hosts {
		c, err := l.control(h)
		if err != nil {
			return err
		}
		s, err := c.Status(ctx)
		switch {
		case err != nil:
			return err
		case first == "":
			first = s.Root
		case first != s.Root:
			return fmt.Errorf("%s has another one than %s", h, l.Hosts[0])
		}
	}
	return nil
}

// same waits until each kind has been the same on all hosts, object by object, and counts the objects. Kinds are ticked off one by one: pods of
// the other side end meanwhile, and what is compared at once must not stand still at once.
func (v *views) same(ctx context.Context, limit time.Duration) (total int, err error) {
	var ticked atomic.Int64
	left := v.kinds
	err = until(ctx, limit, 50*time.Millisecond, "everything is the same on every host", func(ctx context.Context) error {
		var still []schema.GroupVersionResource
		var why []string
		for _, kind := range left {
			all, err := v.list(ctx, kind)
			if err != nil {
				still, why = append(still, kind), append(why, err.Error())
				continue
			}
			if d := differences(kind.Resource, v.hosts, all); len(d) > 0 {
				still, why = append(still, kind), append(why, d...)
				continue
			}
			ticked.Add(int64(len(all[v.hosts[0]])))
		}
		left = still
		if len(left) > 0 {
			return fmt.Errorf("%d difference(s): %s", len(why), strings.Join(why[:min(5, len(why))], "; "))
		}
		return nil
	})
	return int(ticked.Load()), err
}

// foundAgain asks every host for every edit. Conflicts may be listed a moment after the objects are equal.
func (l *Lab) foundAgain(ctx context.Context, edits [2][]edit, run *SplitRun) error {
	for _, e := range edits[0] {
		if e.both {
			run.Expected++
		}
	}
	for _, h := range l.Hosts {
		s, err := l.shown(ctx, h)
		if err != nil {
			return err
		}
		lost, unlisted := s.lost(edits)
		for _, x := range lost {
			run.LostEdits = append(run.LostEdits, h+": "+x)
		}
		for _, x := range unlisted {
			run.Unlisted = append(run.Unlisted, h+": "+x)
		}
		if run.Conflicts == 0 || len(s.siblings) < run.Conflicts {
			run.Conflicts = len(s.siblings)
		}
	}
	out, err := l.M.Orpheus(ctx, l.Hosts[0], nil, "conflicts")
	if err != nil {
		return err
	}
	for _, e := range edits[0] {
		if e.both && !strings.Contains(string(out), splitNamespace+"/"+e.name+"\n") {
			run.Unlisted = append(run.Unlisted, "orpheus conflicts: "+e.name)
		}
	}
	return nil
}

func (l *Lab) shown(ctx context.Context, host string) (shown, error) {
	s := shown{words: map[string]string{}, siblings: map[string][]string{}}
	client, err := l.client(ctx, host)
	if err != nil {
		return s, err
	}
	list, err := client.CoreV1().ConfigMaps(splitNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return s, err
	}
	for _, m := range list.Items {
		s.words[m.Name] = m.Data["word"]
	}
	c, err := l.control(host)
	if err != nil {
		return s, err
	}
	conflicts, err := c.Conflicts(ctx)
	if err != nil {
		return s, err
	}
	for _, x := range conflicts {
		if x.Namespace != splitNamespace {
			continue
		}
		s.siblings[x.Name] = []string{x.Executing.Body}
		for _, o := range x.Others {
			s.siblings[x.Name] = append(s.siblings[x.Name], o.Body)
		}
	}
	return s, nil
}

func (l *Lab) allPods(ctx context.Context, host string) (map[types.UID]corev1.Pod, error) {
	client, err := l.client(ctx, host)
	if err != nil {
		return nil, err
	}
	list, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	all := map[types.UID]corev1.Pod{}
	for _, p := range list.Items {
		all[p.UID] = p
	}
	return all, nil
}

// originalsKept waits until no pod is left that the split had made, and looks what became of those from before.
func (l *Lab) originalsKept(ctx context.Context, before map[types.UID]corev1.Pod, run *SplitRun) error {
	var now map[types.UID]corev1.Pod
	err := until(ctx, settleLimit, 250*time.Millisecond, "surplus pods are gone", func(ctx context.Context) (err error) {
		if now, err = l.allPods(ctx, l.Hosts[0]); err != nil {
			return err
		}
		if len(now) != len(before) {
			return fmt.Errorf("%d pods, there were %d", len(now), len(before))
		}
		for _, p := range now {
			if !podReady(&p) {
				return fmt.Errorf("pod %s is not Ready, or ends", p.Name)
			}
		}
		return nil
	})
	for uid, p := range before {
		switch q, kept := now[uid]; {
		case !kept || q.DeletionTimestamp != nil:
			state := "Ready"
			if run.unready[uid] {
				state = "not Ready"
			}
			run.LostPods = append(run.LostPods, fmt.Sprintf("%s/%s of %s, %s when the split was healed", p.Namespace, p.Name, p.Spec.NodeName, state))
		case !sameContainers(&p, &q):
			run.Restarted = append(run.Restarted, p.Namespace+"/"+p.Name)
		}
	}
	return err
}

func sameContainers(a, b *corev1.Pod) bool {
	ids := map[string]string{}
	for _, c := range a.Status.ContainerStatuses {
		ids[c.Name] = c.ContainerID
	}
	for _, c := range b.Status.ContainerStatuses {
		if ids[c.Name] != c.ContainerID {
			return false
		}
	}
	return true
}

// clearSplit removes the objects of a split, also of one that was interrupted; a person's delete settles their conflicts.
func (l *Lab) clearSplit(ctx context.Context) error { return l.clearNamespace(ctx, splitNamespace) }

// clearNamespace deletes a namespace and waits until it is gone.
func (l *Lab) clearNamespace(ctx context.Context, name string) error {
	return l.clearNamespaceIn(ctx, name, 100*time.Second)
}

func (l *Lab) clearNamespaceIn(ctx context.Context, name string, limit time.Duration) error {
	client, err := l.client(ctx, l.Hosts[0])
	if err != nil {
		return err
	}
	return until(ctx, limit, time.Second, "namespace "+name+" is gone", func(ctx context.Context) error {
		err := client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil && !apierrors.IsConflict(err) {
			return err
		}
		return errors.New("it is still there")
	})
}
