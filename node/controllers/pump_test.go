package controllers

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// A membership that changed while the API could not list is not forgotten with the watch that ended meanwhile.
func TestAWakeOutlivesTheWatchThatOwesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken, home := false, map[string]bool{"x": true}
		var inner *watch.FakeWatcher
		list := func(context.Context, metav1.ListOptions) (*appsv1.DeploymentList, error) {
			if broken {
				return nil, errors.New("too busy")
			}
			named := func(n string) appsv1.Deployment {
				return appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: n, ResourceVersion: "1"}}
			}
			return &appsv1.DeploymentList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}, Items: []appsv1.Deployment{named("x"), named("y")}}, nil
		}
		watching := func(context.Context, metav1.ListOptions) (watch.Interface, error) {
			inner = watch.NewFake()
			return inner, nil
		}
		v := newView(source(list, watching), func() object { return &appsv1.Deployment{} }, bare,
			homeLens{mine: func(_, _, n string) bool { return home[n] }, kind: "apps/deployments"}, true)
		if _, err := v.ListWithContext(t.Context(), metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
		first, err := v.Watch(metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		broken, home["y"] = true, true
		v.refresh(wake{})
		synctest.Wait()
		inner.Stop()
		for e := range first.ResultChan() {
			t.Errorf("a broken list brought %s", e.Type)
		}
		broken = false
		second, err := v.Watch(metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer second.Stop()
		synctest.Wait()
		select {
		case e := <-second.ResultChan():
			if o, is := e.Object.(*appsv1.Deployment); !is || o.Name != "y" || e.Type != watch.Added {
				t.Errorf("%s %v", e.Type, e.Object)
			}
		default:
			t.Error("nobody looked again")
		}
	})
}
