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
	"k8s.io/apimachinery/pkg/types"

	"github.com/orpheus-mesh/orpheus/cmd/lab/demo"
	"github.com/orpheus-mesh/orpheus/cmd/lab/mesh"
)

// Split is what a partition of the regions did.
type Split struct {
	Lasted    time.Duration
	Applies   int           // on each side
	Served    int           // hosts that served the front end meanwhile
	Identical time.Duration // from healing until all replicas were equal
	Originals int           // pods of the application before the split, all of which were kept
	Surplus   int           // pods that the other side had made meanwhile and that are gone again
}

// SplitRegions cuts region 2 off, applies objects on both sides, heals, and checks that nothing was lost on any host.
func (s *Stage) SplitRegions(ctx context.Context, lasts time.Duration, applies int, hosts []string) (sp Split, err error) {
	sides, err := s.sides(hosts)
	if err != nil {
		return sp, err
	}
	if err := s.steady(ctx, hosts[0]); err != nil {
		return sp, err
	}
	before, err := s.podUIDs(ctx, hosts[0])
	if err != nil {
		return sp, err
	}
	sp.Originals, sp.Applies = len(before), applies
	if err := s.M.Bed.Split(2); err != nil {
		return sp, err
	}
	start := time.Now()
	if err := s.bothSee(ctx, sides); err != nil {
		return sp, errors.Join(err, s.M.Bed.Merge())
	}
	if err := s.applyOnBoth(ctx, sides, applies); err != nil {
		return sp, errors.Join(err, s.M.Bed.Merge())
	}
	if sp.Served, err = s.bothServe(ctx, sides); err != nil {
		return sp, errors.Join(err, s.M.Bed.Merge())
	}
	pause(ctx, lasts-time.Since(start))
	during, err := s.podUIDs(ctx, sides[0][0])
	if err != nil {
		return sp, errors.Join(err, s.M.Bed.Merge())
	}
	sp.Lasted = time.Since(start)
	healed := time.Now()
	if err := s.M.Bed.Merge(); err != nil {
		return sp, err
	}
	if err := s.converge(ctx, hosts, applies); err != nil {
		return sp, err
	}
	sp.Identical = time.Since(healed)
	sp.Surplus, err = s.originalsKept(ctx, hosts[0], before, during)
	return sp, err
}

func (s *Stage) sides(hosts []string) (sides [2][]string, err error) {
	for _, name := range hosts {
		h, err := s.M.Bed.Host(name)
		if err != nil {
			return sides, err
		}
		side := 0
		if h.Region == 2 {
			side = 1
		}
		sides[side] = append(sides[side], name)
	}
	if len(sides[0]) == 0 || len(sides[1]) == 0 {
		return sides, errors.New("a split needs hosts in both regions")
	}
	return sides, nil
}

// bothSee waits until each side has noticed that the other is gone.
func (s *Stage) bothSee(ctx context.Context, sides [2][]string) error {
	for _, side := range sides {
		err := mesh.Eventually(ctx, 30*time.Second, side[0]+" sees only its own side", func() error {
			st, err := s.M.Status(ctx, side[0])
			if err == nil && st.Alive != len(side) {
				err = fmt.Errorf("it sees %d servers, its side has %d", st.Alive, len(side))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// bothServe asks every host for the front end, of which each side has a replica. The database is on one side only, for its volume is.
func (s *Stage) bothServe(ctx context.Context, sides [2][]string) (served int, err error) {
	for _, side := range sides {
		client, err := s.M.Client(ctx, side[0])
		if err != nil {
			return served, err
		}
		pods, err := client.CoreV1().Pods(demo.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=frontend"})
		if err != nil {
			return served, err
		}
		if !slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool { return slices.Contains(side, p.Spec.NodeName) && isReady(&p) }) {
			// Spreading is a wish. Replacements come when the loss of most servers at once is no longer held for a fault of this side.
			s.Say("  no replica of the front end was on the side of %s: it is not asked", strings.Join(side, ", "))
			continue
		}
		for _, name := range side {
			h, err := s.M.Bed.Host(name)
			if err != nil {
				return served, err
			}
			if err := s.answers(ctx, h, front(h)...); err != nil {
				return served, fmt.Errorf("while the regions are split, through %s: %w", name, err)
			}
			served++
		}
	}
	return served, nil
}

func (s *Stage) applyOnBoth(ctx context.Context, sides [2][]string, applies int) error {
	for i := range applies {
		for side, hosts := range sides {
			yaml := fmt.Sprintf(configMap, sideName(side, i), demo.Namespace, side, i)
			if err := s.M.Apply(ctx, hosts[i%len(hosts)], yaml); err != nil {
				return err
			}
		}
	}
	return nil
}

func sideName(side, i int) string { return fmt.Sprintf("split-%d-%d", side, i) }

const configMap = `apiVersion: v1
kind: ConfigMap
metadata: {name: %s, namespace: %s, labels: {story: split}}
data: {side: "%d", number: "%d"}
`

// converge waits until every host shows every object of both sides and all replicas have one fingerprint.
func (s *Stage) converge(ctx context.Context, hosts []string, applies int) error {
	return mesh.Eventually(ctx, 60*time.Second, "all replicas are equal", func() error {
		var root string
		for _, h := range hosts {
			st, err := s.M.Status(ctx, h)
			if err != nil {
				return err
			}
			if root == "" {
				root = st.Root
			}
			if st.Root != root {
				return fmt.Errorf("%s has another fingerprint than %s", h, hosts[0])
			}
			client, err := s.M.Client(ctx, h)
			if err != nil {
				return err
			}
			list, err := client.CoreV1().ConfigMaps(demo.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "story=split"})
			if err != nil {
				return err
			}
			if len(list.Items) < 2*applies {
				return fmt.Errorf("%s has %d of %d objects", h, len(list.Items), 2*applies)
			}
		}
		return nil
	})
}

func (s *Stage) podUIDs(ctx context.Context, host string) (map[types.UID]bool, error) {
	client, err := s.M.Client(ctx, host)
	if err != nil {
		return nil, err
	}
	list, err := client.CoreV1().Pods(demo.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	out := map[types.UID]bool{}
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil { // what an earlier story left is on its way out already
			out[p.UID] = true
		}
	}
	return out, nil
}

// steady waits until every deployment has just the pods that it wants: what an earlier story left is no original.
func (s *Stage) steady(ctx context.Context, host string) error {
	client, err := s.M.Client(ctx, host)
	if err != nil {
		return err
	}
	return mesh.Eventually(ctx, 60*time.Second, "as many pods as wanted", func() error {
		deployments, err := client.AppsV1().Deployments(demo.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		want := 1 // the database
		for _, d := range deployments.Items {
			want += int(*d.Spec.Replicas)
		}
		pods, err := s.podUIDs(ctx, host)
		if err == nil && len(pods) != want {
			err = fmt.Errorf("%d pods, %d are wanted", len(pods), want)
		}
		return err
	})
}

// originalsKept waits until the pods are just those from before the split.
func (s *Stage) originalsKept(ctx context.Context, host string, before, during map[types.UID]bool) (surplus int, err error) {
	for uid := range during {
		if !before[uid] {
			surplus++
		}
	}
	return surplus, mesh.Eventually(ctx, 90*time.Second, "surplus pods are gone and the originals are kept", func() error {
		now, err := s.podUIDs(ctx, host)
		if err != nil {
			return err
		}
		for uid := range before {
			if !now[uid] {
				return fmt.Errorf("original pod %s is gone", uid)
			}
		}
		if len(now) != len(before) {
			return fmt.Errorf("%d pods, there were %d", len(now), len(before))
		}
		return nil
	})
}
