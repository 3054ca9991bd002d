package controllers

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/tools/cache"
)

// What a hold refused is shown again when it ends, three times, in the order in which it was written: an informer that is
// shown an older object last takes its own newer writes for unseen.
func TestPokesAfterAHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, "a")
		m.start("a")
		defer m.end()
		m.stop["a"]()
		var shown []string
		c := m.last
		c.ready = make(chan struct{})
		c.roster = append(c.roster, controller{"reader", func(_ context.Context, s *stage) (func(context.Context), error) {
			_, err := s.own.Apps().V1().Deployments().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
				UpdateFunc: func(_, after any) { shown = append(shown, after.(*appsv1.Deployment).ResourceVersion) },
			})
			utilruntime.Must(err)
			return func(ctx context.Context) { <-ctx.Done() }, nil
		}})
		m.run("a", c)
		const n = 8
		for i := range n {
			m.deploy("web"+strconv.Itoa(i), 1, appsv1.RollingUpdateDeploymentStrategyType)
		}
		for _, i := range []int{3, 0, 6} {
			m.scale("web"+strconv.Itoa(i), 2)
		}
		m.tell(func() { m.held = "most peers vanished" })
		settle()
		shown = nil
		m.tell(func() { m.held = "" })
		for _, want := range []int{1, 2, 3} {
			synctest.Wait()
			if len(shown) != want*n {
				t.Fatalf("%d updates after poke %d of %d objects", len(shown), want, n)
			}
			if last := shown[len(shown)-n:]; !slices.IsSortedFunc(last, byNumber) {
				t.Errorf("shown in the order %v", last)
			}
			time.Sleep([]time.Duration{1100 * time.Millisecond, 5 * time.Second, 0}[want-1])
		}
		settle()
		if len(shown) != 3*n {
			t.Errorf("poked without end: %d updates", len(shown))
		}
	})
}

func byNumber(a, b string) int {
	x, _ := strconv.Atoi(a)
	y, _ := strconv.Atoi(b)
	return x - y
}
