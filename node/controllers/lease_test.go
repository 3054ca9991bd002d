package controllers

import (
	"context"
	"maps"
	"sync"
	"testing"
	"testing/synctest"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
)

// The handlers of a controller's earlier lives are gone, whichever way it came to its informers.
func TestOnlyTheLastLifeListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, "a")
		defer m.end()
		m.start("a", "deployment-controller")
		m.lose("a")
		m.tell(func() { m.live["a"] = true })
		c := m.last
		c.ready = make(chan struct{})
		var mu sync.Mutex // guards heard
		lives, heard := 0, map[string]int{}
		c.roster = append(c.roster, controller{"mortal-controller", func(_ context.Context, s *stage) (func(context.Context), error) {
			lives++
			deployments := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
			generic, err := s.all.ForResource(deployments)
			if err != nil {
				return nil, err
			}
			for name, i := range map[string]cache.SharedIndexInformer{
				"own": s.own.Apps().V1().Deployments().Informer(), "all": s.all.Apps().V1().Deployments().Informer(),
				"generic": generic.Informer(),
			} {
				listen := func(any) { mu.Lock(); defer mu.Unlock(); heard[name]++ }
				if _, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: listen}); err != nil {
					return nil, err
				}
			}
			last := lives == 4
			return func(ctx context.Context) {
				if last {
					<-ctx.Done()
				}
			}, nil
		}})
		m.run("a", c)
		settle()
		m.deploy("web", 1, appsv1.RollingUpdateDeploymentStrategyType)
		settle()
		if want := map[string]int{"own": 1, "all": 1, "generic": 1}; lives != 4 || !maps.Equal(heard, want) {
			t.Errorf("%d lives, heard %v, want %v", lives, heard, want)
		}
	})
}
