package controllers

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/tools/cache"
)

// diary notes what an informer's handlers hear.
type diary struct{ lines []string }

func (d *diary) OnAdd(o any, _ bool)        { d.note("+", o) }
func (d *diary) OnUpdate(before, after any) { d.note("~", after) }
func (d *diary) OnDelete(o any)             { d.note("-", o) }

func (d *diary) note(sign string, o any) {
	if gone, is := o.(cache.DeletedFinalStateUnknown); is {
		o = gone.Obj
	}
	x := o.(object)
	line := sign + x.GetName()
	if p, is := o.(*corev1.Pod); is {
		line += fmt.Sprint(" ", p.Status.Phase)
	}
	d.lines = append(d.lines, line)
}

func (d *diary) take() []string {
	out := d.lines
	d.lines = nil
	slices.Sort(out)
	return out
}

func TestHomesComeAndGoInOneWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		home := map[string]bool{"x": true}
		d := &diary{}
		v := newView(source(m.api.AppsV1().Deployments("").List, m.api.AppsV1().Deployments("").Watch),
			func() object { return &appsv1.Deployment{} }, bare, homeLens{mine: func(_, _, n string) bool { return home[n] }, kind: "apps/deployments"}, true)
		i := cache.NewSharedIndexInformer(v, &appsv1.Deployment{}, 0, byNamespace())
		if _, err := i.AddEventHandler(d); err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		m.deploy("x", 1, appsv1.RecreateDeploymentStrategyType)
		m.deploy("y", 1, appsv1.RecreateDeploymentStrategyType)
		go i.Run(stop)
		defer func() { close(stop); time.Sleep(time.Minute) }()
		expect := func(what string, want ...string) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			if got := d.take(); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		expect("the start", "+x")
		m.deploy("z", 1, appsv1.RecreateDeploymentStrategyType)
		m.scale("y", 2)
		expect("what happens elsewhere")
		home["y"], home["x"] = true, false
		v.refresh(wake{})
		expect("a move", "+y", "-x")
		v.refresh(wake{})
		expect("a wake without a change")
		m.scale("y", 3)
		expect("a change after the move", "~y")
		v.refresh(wake{poke: true})
		expect("a poke", "~y")
		if got, want := i.GetStore().LastStoreSyncResourceVersion(), v.rv; got != want || want == "" {
			t.Errorf("the informer is at %q, the view at %q: upstream's own writes would look unseen", got, want)
		}
		if n := len(i.GetStore().List()); n != 1 {
			t.Errorf("%d objects in the store", n)
		}
	})
}

// A pod that looks different at the same version reaches a handler that compares versions, and keeps its version.
func TestHandlersNoticeALensThatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.create(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}, Spec: corev1.PodSpec{NodeName: "n"}, Status: corev1.PodStatus{Phase: corev1.PodRunning}})
		nodes := &oneNode{}
		v := newView(source(m.api.CoreV1().Pods("").List, m.api.CoreV1().Pods("").Watch), newPod, slimPod, podLens{nodes: nodes}, false)
		i := awake{cache.NewSharedIndexInformer(v, &corev1.Pod{}, 0, byNamespace())}
		var heard []string
		_, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: func(before, after any) {
			b, a := before.(*corev1.Pod), after.(*corev1.Pod)
			if a.ResourceVersion == b.ResourceVersion {
				return // as upstream's handlers do
			}
			heard = append(heard, string(a.Status.Phase))
		}})
		utilruntime.Must(err)
		stop := make(chan struct{})
		go i.Run(stop)
		defer func() { close(stop); time.Sleep(time.Minute) }()
		time.Sleep(time.Second)
		version := i.GetStore().List()[0].(*corev1.Pod).ResourceVersion
		for _, nodes.fenced = range []bool{true, true, false} {
			v.refresh(wake{})
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if !slices.Equal(heard, []string{"Failed", "Running"}) {
			t.Errorf("heard %v", heard)
		}
		if now := i.GetStore().List()[0].(*corev1.Pod).ResourceVersion; now != version || i.GetStore().LastStoreSyncResourceVersion() != v.rv {
			t.Errorf("version %s became %s", version, now)
		}
	})
}

type oneNode struct {
	noNodes
	fenced bool
}

func (o *oneNode) Get(string) (*corev1.Node, error) {
	n := &corev1.Node{}
	if o.fenced {
		n.Annotations = map[string]string{FencedAnnotation: ""}
	}
	return n, nil
}

// A controller that panics is made anew; the others do not notice.
func TestAPanicIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, "a")
		defer m.end()
		m.start("a", "deployment-controller")
		m.lose("a")
		c := m.last
		c.ready = make(chan struct{})
		lives := 0
		c.roster = append(c.roster, controller{"clumsy-controller", clumsy(&lives)})
		m.run("a", c)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if lives != 4 { // at 0, 1, 3 and 7 s
			t.Errorf("%d lives in 10 s", lives)
		}
	})
}
