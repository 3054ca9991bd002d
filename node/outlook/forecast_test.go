package outlook

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/scheduling/install"

	"github.com/orpheus-mesh/orpheus/node/binder"
	"github.com/orpheus-mesh/orpheus/node/control"
	"github.com/orpheus-mesh/orpheus/placement"
)

// cluster is a small one: objects that are there, and a binder's eyes on them.
type cluster struct {
	nodes []*corev1.Node
	pods  []*corev1.Pod
	more  []runtime.Object
	deny  string // why the API refuses pods
	shown []*corev1.Pod
	come  []*corev1.Pod
}

// Foresee implements Seer by the binder's own translation and decision.
func (c *cluster) Foresee(come []*corev1.Pod, gone map[types.UID]bool) (*binder.Outlook, error) {
	c.come = come
	pods := slices.DeleteFunc(slices.Concat(c.pods, come), func(p *corev1.Pod) bool { return gone[p.UID] })
	return binder.Decide(binder.View(binder.Objects{Nodes: c.nodes, Pods: pods}), placement.Options{Preempt: true}), nil
}

func (c *cluster) ask(t *testing.T, manifests string) (control.Forecast, error) {
	t.Helper()
	objects := append([]runtime.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}}, c.more...)
	for _, n := range c.nodes {
		objects = append(objects, n)
	}
	for _, p := range c.pods {
		objects = append(objects, p)
	}
	api := fake.NewClientset(objects...)
	api.PrependReactor("*", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		create, is := a.(clienttesting.CreateActionImpl)
		switch {
		case !is && (a.GetVerb() == "get" || a.GetVerb() == "list"):
			return false, nil, nil
		case !is || a.GetResource().Resource != "pods" || !slices.Equal(create.CreateOptions.DryRun, []string{metav1.DryRunAll}):
			t.Errorf("a forecast wrote: %s %s", a.GetVerb(), a.GetResource().Resource)
		}
		p := create.Object.(*corev1.Pod).DeepCopy()
		c.shown = append(c.shown, p)
		if c.deny != "" {
			return true, nil, apierrors.NewForbidden(a.GetResource().GroupResource(), "", fmt.Errorf("%s", c.deny))
		}
		return true, p.DeepCopy(), nil
	})
	return Forecast(t.Context(), api, c, []byte(manifests), "shop")
}

// tell writes a forecast as one line a pod.
func (c *cluster) tell(t *testing.T, manifests string) (control.Forecast, string) {
	t.Helper()
	f, err := c.ask(t, manifests)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, w := range f.Workloads {
		for _, p := range w.Pods {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", p.Name, p.Fate, p.Node)))
		}
	}
	return f, strings.Join(out, "\n")
}

func node(name, cpu string, labels ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	for i := 0; i < len(labels); i += 2 {
		n.Labels[labels[i]] = labels[i+1]
	}
	n.Status.Allocatable = corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse("8Gi"), "pods": resource.MustParse("110")}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	return n
}

func template(app, cpu string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "c", Image: "i:1", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse(cpu)}}}}}}
}

func controlled(kind, name, uid string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{Kind: kind, Name: name, UID: types.UID(uid), Controller: new(true)}}
}

// running are pods of an owner on a node each.
func running(t corev1.PodTemplateSpec, owner []metav1.OwnerReference, at ...string) (out []*corev1.Pod) {
	for i, host := range at {
		name := fmt.Sprintf("%s-%d", owner[0].Name, i)
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name), Labels: t.Labels, OwnerReferences: owner}, Spec: t.Spec}
		p.Spec.NodeName = host
		out = append(out, p)
	}
	return out
}

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: %d
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "i:1", resources: {requests: {cpu: "%s"}}}]}
`

// deployed is the deployment above with its replica set and three pods, as kubectl apply and the API left it.
func deployed(t *testing.T) *cluster {
	t.Helper()
	ms, err := read(fmt.Appendf(nil, web, 3, "1"), "shop")
	if err != nil {
		t.Fatal(err)
	}
	_, d, err := applied(ms[0], func(string) (*appsv1.Deployment, error) {
		return nil, apierrors.NewNotFound(appsv1.Resource("deployments"), "web")
	})
	if err != nil {
		t.Fatal(err)
	}
	d.UID = "web"
	d.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: string(ms[0].raw)}
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", UID: "web-1", OwnerReferences: controlled("Deployment", "web", "web"),
		Labels: map[string]string{"pod-template-hash": "1"}}, Spec: appsv1.ReplicaSetSpec{Template: d.Spec.Template}}
	return &cluster{nodes: []*corev1.Node{node("a", "4"), node("b", "4")}, more: []runtime.Object{d, rs},
		pods: running(d.Spec.Template, controlled("ReplicaSet", "web-1", "web-1"), "a", "b", "a")}
}

func TestNewDeploymentComes(t *testing.T) {
	c := &cluster{nodes: []*corev1.Node{node("a", "4"), node("b", "4")}}
	f, got := c.tell(t, fmt.Sprintf(web, 2, "1"))
	if got != "web-(new 1) comes a\nweb-(new 2) comes b" && got != "web-(new 1) comes b\nweb-(new 2) comes a" || !f.Fits {
		t.Errorf("%v\n%s", f.Fits, got)
	}
	if p := c.shown[0]; p.Labels["pod-template-hash"] == "" || p.Namespace != "shop" {
		t.Errorf("shown to the API: %+v", p.ObjectMeta)
	}
}

func TestWhatDoesNotFitSaysWhyAndWhatHelps(t *testing.T) {
	c := &cluster{nodes: []*corev1.Node{node("a", "4"), node("b", "2")}}
	f, got := c.tell(t, fmt.Sprintf(web, 2, "3"))
	p := f.Workloads[0].Pods
	i := slices.IndexFunc(p, func(p control.PodForecast) bool { return p.Fate == control.Misfit })
	if f.Fits || i < 0 || p[i].Message != "0/2 nodes are available: 2 Insufficient cpu." {
		t.Fatalf("%+v\n%s", f, got)
	}
	if r := p[i].Remedies; len(r) != 2 || r[0].Node != "b" || !slices.Equal(r[0].Changes, []string{"1 more cpu"}) && !slices.Equal(r[0].Changes, []string{"1000m more cpu"}) {
		t.Errorf("%+v", r)
	}
}

func TestAppliedAgainNothingHappens(t *testing.T) {
	if _, got := deployed(t).tell(t, fmt.Sprintf(web, 3, "1")); got != "web-1-0 stays a\nweb-1-1 stays b\nweb-1-2 stays a" {
		t.Error(got)
	}
}

func TestScaledDownThoseGoThatUpstreamWouldDelete(t *testing.T) {
	_, got := deployed(t).tell(t, fmt.Sprintf(web, 1, "1"))
	if strings.Count(got, "goes") != 2 || strings.Count(got, "stays") != 1 || strings.Count(got, "goes a") == 0 {
		t.Error(got)
	}
}

func TestChangedTemplateReplacesAll(t *testing.T) {
	c := deployed(t)
	f, got := c.tell(t, fmt.Sprintf(web, 3, "2500m"))
	if strings.Count(got, "goes") != 3 || strings.Count(got, "comes") != 2 || strings.Count(got, "misfit") != 1 || f.Fits || f.Workloads[0].Pods[0].Message != templateChanged {
		t.Error(got)
	}
}

// As with kubectl apply: what others wrote stays, what the last apply wrote and this one does not goes.
func TestAppliedIsAThreeWayMerge(t *testing.T) {
	c := deployed(t)
	d := c.more[0].(*appsv1.Deployment)
	rs := c.more[1].(*appsv1.ReplicaSet)
	d.Spec.Template.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": "now"}
	rs.Spec.Template = d.Spec.Template
	if _, got := c.tell(t, fmt.Sprintf(web, 3, "1")); strings.Count(got, "stays") != 3 {
		t.Errorf("another's annotation was dropped:\n%s", got)
	}
	d.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	rs.Spec.Template = d.Spec.Template
	d.Annotations[corev1.LastAppliedConfigAnnotation] = strings.Replace(d.Annotations[corev1.LastAppliedConfigAnnotation], `"containers"`, `"nodeSelector":{"disk":"ssd"},"containers"`, 1)
	if f, got := c.tell(t, fmt.Sprintf(web, 3, "1")); strings.Count(got, "comes") != 3 || !f.Fits {
		t.Errorf("the selector that was taken back stayed:\n%s", got)
	}
}

func TestStatefulSetKnowsItsOrdinals(t *testing.T) {
	const text = `{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"name":"db"},"spec":{"replicas":4,"serviceName":"db","selector":{"matchLabels":{"app":"db"}},
		"updateStrategy":{"rollingUpdate":{"partition":1}},"volumeClaimTemplates":[{"metadata":{"name":"data"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}],
		"template":{"metadata":{"labels":{"app":"db"}},"spec":{"containers":[{"name":"c","image":"i:2"}]}}}}`
	tpl := template("db", "1")
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", UID: "db"}, Spec: appsv1.StatefulSetSpec{Template: tpl}}
	c := &cluster{nodes: []*corev1.Node{node("a", "4")}, more: []runtime.Object{set}, pods: running(tpl, controlled("StatefulSet", "db", "db"), "a", "a")}
	if _, got := c.tell(t, text); got != "db-1 goes a\ndb-0 stays a\ndb-1 comes a\ndb-2 comes a\ndb-3 comes a" {
		t.Error(got)
	}
	if v := c.shown[0].Spec.Volumes; len(v) != 1 || v[0].Name != "data" {
		t.Errorf("shown to the API without its volume: %+v", v)
	}
	if v := c.come[2].Spec.Volumes; len(v) != 1 || v[0].PersistentVolumeClaim.ClaimName != "data-db-3" {
		t.Errorf("decided on with other claims than its own: %+v", v)
	}
}

func TestDaemonSetHasOnePodOnEachOfItsNodes(t *testing.T) {
	const text = `{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"log"},"spec":{"selector":{"matchLabels":{"app":"log"}},
		"template":{"metadata":{"labels":{"app":"log"}},"spec":{"nodeSelector":{"disk":"ssd"},"containers":[{"name":"c","image":"i:1","resources":{"requests":{"cpu":"1"}}}]}}}}`
	c := &cluster{nodes: []*corev1.Node{node("a", "4", "disk", "ssd"), node("b", "4"), node("c", "500m", "disk", "ssd")}}
	f, got := c.tell(t, text)
	if got != "log-(on a) comes a\nlog-(on c) misfit" || f.Fits {
		t.Error(got)
	}
}

func TestJobRunsAsManyAtOnceAsItMayAndNeeds(t *testing.T) {
	const text = `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"sum"},"spec":{"parallelism":3,"completions":2,
		"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i:1"}]}}}}`
	c := &cluster{nodes: []*corev1.Node{node("a", "4")}}
	if _, got := c.tell(t, text); got != "sum-(new 1) comes a\nsum-(new 2) comes a" {
		t.Error(got)
	}
	if _, got := c.tell(t, strings.Replace(text, `"parallelism"`, `"suspend":true,"parallelism"`, 1)); got != "" {
		t.Error(got)
	}
}

// What the manifests bring along (a namespace, a service account, a priority class) is not there yet when they are judged.
func TestManifestsBringWhatTheirPodsNeed(t *testing.T) {
	c := &cluster{nodes: []*corev1.Node{node("a", "4")}}
	_, got := c.tell(t, `
apiVersion: v1
kind: Namespace
metadata: {name: new}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 1000
---
apiVersion: example.com/v1
kind: Gadget
metadata: {name: g}
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: p, namespace: new}
  spec:
    serviceAccountName: mine
    priorityClassName: high
    containers: [{name: c, image: "i:1"}]
`)
	if p := c.shown[0]; got != "p comes a" || p.Namespace != "default" || p.Spec.ServiceAccountName != "" || p.Spec.PriorityClassName != "" {
		t.Errorf("%s, shown %+v", got, p)
	}
	w := &workload{kind: "Pod", namespace: "new", name: "p", template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{PriorityClassName: "high"}}}
	w.add("p", nil)
	a := admission{world: &world{client: fake.NewClientset()}, classes: map[string]*schedulingv1.PriorityClass{"high": {ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 1000}}}
	if err := a.admit(t.Context(), w); err != nil || *w.comes[0].pod.Spec.Priority != 1000 || w.comes[0].pod.Namespace != "new" {
		t.Errorf("%v %+v", err, w.comes[0].pod)
	}
}

func TestWhoIsPreemptedIsTold(t *testing.T) {
	low := running(template("old", "3"), controlled("ReplicaSet", "old", "old"), "a")
	c := &cluster{nodes: []*corev1.Node{node("a", "4")}, pods: low}
	f, got := c.tell(t, `{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"high"},"value":1000}
		{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"priorityClassName":"high","containers":[{"name":"c","image":"i:1","resources":{"requests":{"cpu":"2"}}}]}}`)
	if got != "p preempts a" || !f.Fits || !slices.Equal(f.Preempted, []control.PodMove{{Namespace: "shop", Pod: "old-0", From: "a", For: "shop/p"}}) {
		t.Errorf("%s: %+v", got, f)
	}
}

func TestRefusedPodsDoNotFit(t *testing.T) {
	c := &cluster{nodes: []*corev1.Node{node("a", "4")}, deny: "exceeded quota: small"}
	if f, _ := c.tell(t, fmt.Sprintf(web, 1, "1")); f.Fits || !strings.Contains(f.Workloads[0].Refused, "exceeded quota") {
		t.Errorf("%+v", f)
	}
}

func TestMistakesInManifestsAreErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":      "no object",
		"a: [1": "document 1",
		`{"apiVersion":"v1","kind":"Pod","metadata":{}}`:                                   "without a name",
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containres":1}}`: `unknown field "spec.containres"`,
		fmt.Sprintf(web, 20001, "1"):                                                       "more than a forecast takes",
	} {
		if _, err := (&cluster{}).ask(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
	}
}
