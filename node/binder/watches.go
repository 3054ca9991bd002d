package binder

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// intake is where a reflector puts one kind of objects: it hands them to the picture and keeps none itself.
type intake[T metav1.Object] struct {
	picture *picture
	index   int // in synced
	keyOf   func(T) string
	set     func(T)      // mu is held
	drop    func(string) // mu is held
	known   func() []string
}

var _ cache.ReflectorStore = (*intake[*corev1.Pod])(nil)

func (i *intake[T]) put(o any) error {
	t, ok := o.(T)
	if !ok {
		return fmt.Errorf("a %T came where a %T was expected", o, t)
	}
	i.picture.mu.Lock()
	i.set(t)
	i.picture.mu.Unlock()
	i.picture.ring()
	return nil
}

func (i *intake[T]) Add(o any) error    { return i.put(o) }
func (i *intake[T]) Update(o any) error { return i.put(o) }
func (i *intake[T]) Resync() error      { return nil }

func (i *intake[T]) Delete(o any) error {
	t, ok := o.(T)
	if !ok {
		return fmt.Errorf("a %T was deleted where a %T was expected", o, t)
	}
	i.picture.mu.Lock()
	i.drop(i.keyOf(t))
	i.picture.mu.Unlock()
	i.picture.ring()
	return nil
}

// Replace makes the listed objects all that there are.
func (i *intake[T]) Replace(list []any, _ string) error {
	i.picture.mu.Lock()
	there := map[string]bool{}
	for _, o := range list {
		if t, ok := o.(T); ok {
			there[i.keyOf(t)] = true
			i.set(t)
		}
	}
	for _, k := range i.known() {
		if !there[k] {
			i.drop(k)
		}
	}
	i.picture.synced[i.index] = true
	i.picture.mu.Unlock()
	i.picture.ring()
	return nil
}

func keys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

// reflectors are the binder's watches.
func reflectors(c kubernetes.Interface, p *picture) []*cache.Reflector {
	name := func(o metav1.Object) string { return o.GetName() }
	core := c.CoreV1()
	pods := &intake[*corev1.Pod]{picture: p, index: 0, keyOf: func(o *corev1.Pod) string { return key(o) },
		set: p.setPod, drop: p.dropPod, known: func() []string { return keys(p.pods) }}
	nodes := &intake[*corev1.Node]{picture: p, index: 1, keyOf: func(o *corev1.Node) string { return name(o) },
		set: p.setNode, drop: p.dropNode, known: func() []string { return keys(p.hosts) }}
	spaces := &intake[*corev1.Namespace]{picture: p, index: 2, keyOf: func(o *corev1.Namespace) string { return name(o) },
		set: func(n *corev1.Namespace) { p.setSpace(n.Name, n.Labels) }, drop: func(k string) { delete(p.spaces, k) }, known: func() []string { return keys(p.spaces) }}
	budgets := &intake[*policyv1.PodDisruptionBudget]{picture: p, index: 3, keyOf: func(o *policyv1.PodDisruptionBudget) string { return key(o) },
		set: p.setBudget, drop: p.dropBudget, known: func() []string { return keys(p.budgets) }}
	pdbs := c.PolicyV1().PodDisruptionBudgets("")
	return []*cache.Reflector{
		cache.NewReflectorWithOptions(source(core.Pods("").List, core.Pods("").Watch, c), &corev1.Pod{}, pods, cache.ReflectorOptions{Name: "binder-pods"}),
		cache.NewReflectorWithOptions(source(core.Nodes().List, core.Nodes().Watch, c), &corev1.Node{}, nodes, cache.ReflectorOptions{Name: "binder-nodes"}),
		cache.NewReflectorWithOptions(source(core.Namespaces().List, core.Namespaces().Watch, c), &corev1.Namespace{}, spaces, cache.ReflectorOptions{Name: "binder-namespaces"}),
		cache.NewReflectorWithOptions(source(pdbs.List, pdbs.Watch, c), &policyv1.PodDisruptionBudget{}, budgets, cache.ReflectorOptions{Name: "binder-budgets"}),
	}
}
