package api

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	batchv1 "k8s.io/api/batch/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"

	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/api/internal/memory"
)

// eventually asks until the answer is yes, for at most half a minute.
func eventually(t *testing.T, what string, ask func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); !ask(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not after 30 s: %s", what)
		}
	}
}

// aPod needs no ServiceAccount token.
func aPod(name string, change func(*v1.Pod)) *v1.Pod {
	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1.PodSpec{
		AutomountServiceAccountToken: ptr.To(false), Containers: []v1.Container{{Name: "c", Image: "busybox"}},
	}}
	if change != nil {
		change(p)
	}
	return p
}

func withAccount(t *testing.T, w *world) {
	t.Helper()
	must(w.admin(t).CoreV1().ServiceAccounts("default").Create(t.Context(), &v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}))(t)
}

func aDeployment() *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: v1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: v1.PodSpec{Containers: []v1.Container{{Name: "c", Image: "nginx"}}}},
	}}
}

func TestADeploymentLivesThroughEveryVerb(t *testing.T) {
	w := start(t, onDisk(t))
	c := w.admin(t).AppsV1().Deployments("default")
	see := must(c.Watch(t.Context(), metav1.ListOptions{}))(t)
	defer see.Stop()
	d := must(c.Create(t.Context(), aDeployment(), metav1.CreateOptions{}))(t)
	if *d.Spec.Replicas != 1 || d.Generation != 1 || d.UID == "" {
		t.Errorf("created with %d replicas, generation %d, UID %q: defaults are missing", *d.Spec.Replicas, d.Generation, d.UID)
	}
	must(c.UpdateScale(t.Context(), "web", &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}, Spec: autoscalingv1.ScaleSpec{Replicas: 3}}, metav1.UpdateOptions{}))(t)
	d = must(c.Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{}))(t)
	if *d.Spec.Replicas != 3 || d.Generation != 2 || d.Labels["a"] != "b" {
		t.Errorf("after scale and patch: %d replicas, generation %d, labels %v", *d.Spec.Replicas, d.Generation, d.Labels)
	}
	stale := d.DeepCopy()
	d.Status.Replicas, d.Status.ObservedGeneration = 3, 2
	d = must(c.UpdateStatus(t.Context(), d, metav1.UpdateOptions{}))(t)
	if d.Status.Replicas != 3 || d.Generation != 2 {
		t.Errorf("after a status: %d replicas, generation %d", d.Status.Replicas, d.Generation)
	}
	if _, err := c.Update(t.Context(), stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("a PUT of an old version gets %v, want 409", err)
	}
	dry := must(c.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"replicas":9}}`), metav1.PatchOptions{DryRun: []string{"All"}}))(t)
	if now := must(c.Get(t.Context(), "web", metav1.GetOptions{}))(t); *dry.Spec.Replicas != 9 || *now.Spec.Replicas != 3 {
		t.Errorf("a dry run shows %d and leaves %d", *dry.Spec.Replicas, *now.Spec.Replicas)
	}
	if err := c.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var seen []string
	for e := range see.ResultChan() {
		seen = append(seen, string(e.Type))
		if e.Type == watch.Deleted {
			break
		}
	}
	if got := strings.Join(seen, " "); got != "ADDED MODIFIED MODIFIED MODIFIED DELETED" {
		t.Errorf("a watcher saw %s", got)
	}
}

// A Job names itself by UID in its selector and in its pods' labels: an update passes validation only where that is the UID that
// the store gave it.
func TestAJobNamesItselfByItsUID(t *testing.T) {
	w := start(t, onDisk(t))
	c := w.admin(t).BatchV1().Jobs("default")
	made := must(c.Create(t.Context(), &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "sum"}, Spec: batchv1.JobSpec{
		Template: v1.PodTemplateSpec{Spec: v1.PodSpec{RestartPolicy: v1.RestartPolicyNever, Containers: []v1.Container{{Name: "c", Image: "busybox"}}}},
	}}, metav1.CreateOptions{}))(t)
	read := must(c.Get(t.Context(), "sum", metav1.GetOptions{}))(t)
	changed := must(c.Patch(t.Context(), "sum", types.MergePatchType, []byte(`{"spec":{"backoffLimit":0}}`), metav1.PatchOptions{}))(t)
	for what, j := range map[string]*batchv1.Job{"created": made, "read": read, "changed": changed} {
		uid := string(j.UID)
		if j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] != uid || j.Spec.Template.Labels[batchv1.ControllerUidLabel] != uid || j.Spec.Template.Labels["controller-uid"] != uid {
			t.Errorf("as %s, UID %s, selects %v, labels its pods %v", what, uid, j.Spec.Selector.MatchLabels, j.Spec.Template.Labels)
		}
	}
	own := &metav1.LabelSelector{MatchLabels: map[string]string{batchv1.ControllerUidLabel: "mine"}}
	manual := must(c.Create(t.Context(), &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "manual"}, Spec: batchv1.JobSpec{ManualSelector: ptr.To(true), Selector: own,
		Template: v1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: own.MatchLabels}, Spec: v1.PodSpec{RestartPolicy: v1.RestartPolicyNever, Containers: []v1.Container{{Name: "c", Image: "busybox"}}}},
	}}, metav1.CreateOptions{}))(t)
	if got := manual.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel]; got != "mine" {
		t.Errorf("a selector of the user's own became %q", got)
	}
}

func TestServerSideApplySharesAnObjectByFields(t *testing.T) {
	w := start(t, onDisk(t))
	c := w.admin(t).CoreV1().ConfigMaps("default")
	apply := func(manager, key string) error {
		_, err := c.Apply(t.Context(), corev1apply.ConfigMap("shared", "default").WithData(map[string]string{key: manager}), metav1.ApplyOptions{FieldManager: manager})
		return err
	}
	for manager, key := range map[string]string{"alice": "a", "bob": "b"} {
		if err := apply(manager, key); err != nil {
			t.Fatal(err)
		}
	}
	if err := apply("carol", "a"); !apierrors.IsConflict(err) {
		t.Errorf("carol takes alice's field: %v, want a conflict", err)
	}
	before := must(c.Get(t.Context(), "shared", metav1.GetOptions{}))(t)
	if err := apply("alice", "a"); err != nil {
		t.Fatal(err)
	}
	after := must(c.Get(t.Context(), "shared", metav1.GetOptions{}))(t)
	if before.ResourceVersion != after.ResourceVersion || len(after.Data) != 2 {
		t.Errorf("an apply that changes nothing made version %s of %s, data %v", after.ResourceVersion, before.ResourceVersion, after.Data)
	}
}

func TestWatchesResumeOnlyFromThisProcess(t *testing.T) {
	w := start(t, onDisk(t))
	c := w.admin(t).CoreV1().ConfigMaps("default")
	for _, rv := range []string{"1", "99999999999999999"} {
		see, err := c.Watch(t.Context(), metav1.ListOptions{ResourceVersion: rv})
		if err != nil {
			if !apierrors.IsResourceExpired(err) {
				t.Errorf("a watch from %s: %v", rv, err)
			}
			continue
		}
		e := <-see.ResultChan()
		if err := apierrors.FromObject(e.Object); e.Type != watch.Error || !apierrors.IsResourceExpired(err) {
			t.Errorf("a watch from %s brought %s %v, want 410", rv, e.Type, err)
		}
		see.Stop()
	}
}

func TestGracefulDeletion(t *testing.T) {
	w := start(t, onDisk(t))
	withAccount(t, w)
	c := w.admin(t).CoreV1().Pods("default")
	must(c.Create(t.Context(), aPod("p", func(p *v1.Pod) { p.Spec.NodeName = "node-b" }), metav1.CreateOptions{}))(t)
	if err := c.Delete(t.Context(), "p", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](20)}); err != nil {
		t.Fatal(err)
	}
	p := must(c.Get(t.Context(), "p", metav1.GetOptions{}))(t)
	if p.DeletionTimestamp == nil || *p.DeletionGracePeriodSeconds != 20 {
		t.Fatalf("it goes at %v with a grace of %v", p.DeletionTimestamp, p.DeletionGracePeriodSeconds)
	}
	o, _ := w.store.Get(store.Key{Kind: "core/pods", Namespace: "default", Name: "p"})
	if o.Head.DeletionTime != p.DeletionTimestamp.Unix() || o.Head.DeletionGrace != 20 {
		t.Errorf("the store keeps %+v", o.Head)
	}
	host := clientOf(t, w.Loopback()).CoreV1().Pods("default")
	if err := host.Delete(t.Context(), "p", metav1.DeleteOptions{GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(p.UID))}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), "p", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after its host let it go: %v", err)
	}
	if again := must(c.Create(t.Context(), aPod("p", nil), metav1.CreateOptions{}))(t); again.UID == p.UID {
		t.Error("a new pod of the name has the old UID")
	}
}

func TestANamespaceGoesWhenItsFinalizerDoes(t *testing.T) {
	w := start(t, onDisk(t))
	c := w.admin(t)
	must(c.CoreV1().Namespaces().Create(t.Context(), &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{}))(t)
	must(c.CoreV1().ConfigMaps("shop").Create(t.Context(), &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{}))(t)
	if err := c.CoreV1().Namespaces().Delete(t.Context(), "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ns := must(c.CoreV1().Namespaces().Get(t.Context(), "shop", metav1.GetOptions{}))(t)
	if ns.Status.Phase != v1.NamespaceTerminating || len(ns.Spec.Finalizers) != 1 {
		t.Fatalf("deleted, it is %s with finalizers %v", ns.Status.Phase, ns.Spec.Finalizers)
	}
	eventually(t, "nothing new comes into a namespace that goes", func() bool {
		_, err := c.CoreV1().ConfigMaps("shop").Create(t.Context(), &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "y"}}, metav1.CreateOptions{})
		return apierrors.HasStatusCause(err, v1.NamespaceTerminatingCause)
	})
	if err := c.CoreV1().ConfigMaps("shop").DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	ns.Spec.Finalizers = nil
	must(clientOf(t, w.Loopback()).CoreV1().Namespaces().Finalize(t.Context(), ns, metav1.UpdateOptions{}))(t)
	eventually(t, "the namespace is gone", func() bool {
		_, err := c.CoreV1().Namespaces().Get(t.Context(), "shop", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

func TestWritersOfDifferentPartsDoNotConflict(t *testing.T) {
	w := start(t, onDisk(t))
	withAccount(t, w)
	c := w.admin(t).CoreV1().Pods("default")
	must(c.Create(t.Context(), aPod("p", nil), metav1.CreateOptions{}))(t)
	host := clientOf(t, w.Loopback()).CoreV1().Pods("default")
	const n = 20
	var both sync.WaitGroup
	both.Go(func() {
		for i := range n {
			if _, err := c.Patch(t.Context(), "p", types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"l%d":"x"}}}`, i), metav1.PatchOptions{}); err != nil {
				t.Errorf("label %d: %v", i, err)
			}
		}
	})
	both.Go(func() {
		for i := range n {
			if _, err := host.Patch(t.Context(), "p", types.MergePatchType, fmt.Appendf(nil, `{"status":{"message":"%d"}}`, i), metav1.PatchOptions{}, "status"); err != nil {
				t.Errorf("status %d: %v", i, err)
			}
		}
	})
	both.Wait()
	p := must(c.Get(t.Context(), "p", metav1.GetOptions{}))(t)
	if len(p.Labels) != n || p.Status.Message != fmt.Sprint(n-1) {
		t.Errorf("%d labels of %d, message %q", len(p.Labels), n, p.Status.Message)
	}
	o, _ := w.store.Get(store.Key{Kind: "core/pods", Namespace: "default", Name: "p"})
	if o.Bodies[store.Observation] == nil || o.Bodies[store.Status] != nil || !o.Human {
		t.Errorf("observation %d bytes, status %d bytes, human %v", len(o.Bodies[store.Observation]), len(o.Bodies[store.Status]), o.Human)
	}
}

func TestAControllersAnnotationLivesBesideTheIntent(t *testing.T) {
	w := start(t, onDisk(t))
	user := w.admin(t).AppsV1().Deployments("default")
	controller := clientOf(t, w.Loopback()).AppsV1().Deployments("default")
	key := store.Key{Kind: "apps/deployments", Namespace: "default", Name: "web"}
	must(user.Create(t.Context(), aDeployment(), metav1.CreateOptions{}))(t)
	note := func(revision string) {
		t.Helper()
		d := must(controller.Get(t.Context(), "web", metav1.GetOptions{}))(t)
		if d.Annotations == nil {
			d.Annotations = map[string]string{}
		}
		d.Annotations["deployment.kubernetes.io/revision"] = revision
		d.Status.ObservedGeneration++
		must(controller.UpdateStatus(t.Context(), d, metav1.UpdateOptions{}))(t)
	}
	note("0") // the first status part
	before, _ := w.store.Get(key)
	note("1")
	after, _ := w.store.Get(key)
	if string(before.Bodies[store.Intent]) != string(after.Bodies[store.Intent]) || !after.Human {
		t.Error("the controller's annotation touched the person's intent")
	}
	shown := func() string {
		t.Helper()
		return must(user.Get(t.Context(), "web", metav1.GetOptions{}))(t).Annotations["deployment.kubernetes.io/revision"]
	}
	if got := shown(); got != "1" {
		t.Errorf("it reads %q, want 1", got)
	}
	must(user.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"metadata":{"labels":{"x":"y"}}}`), metav1.PatchOptions{}))(t)
	if got := shown(); got != "1" {
		t.Errorf("after a person's edit of something else it reads %q, want 1", got)
	}
	must(user.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"metadata":{"annotations":{"deployment.kubernetes.io/revision":"7"}}}`), metav1.PatchOptions{}))(t)
	if got := shown(); got != "7" {
		t.Errorf("after a person's word it reads %q, want 7", got)
	}
	must(user.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"metadata":{"annotations":{"deployment.kubernetes.io/revision":null}}}`), metav1.PatchOptions{}))(t)
	if got := shown(); got != "" {
		t.Errorf("after a person took it off it reads %q", got)
	}
}

func TestRootsAndGeneratedNames(t *testing.T) {
	w := start(t, memory.New())
	withAccount(t, w)
	c := w.admin(t)
	d := must(c.AppsV1().Deployments("default").Create(t.Context(), aDeployment(), metav1.CreateOptions{}))(t)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web-1", OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))}},
		Spec:       appsv1.ReplicaSetSpec{Selector: d.Spec.Selector, Template: d.Spec.Template},
	}
	rs = must(c.AppsV1().ReplicaSets("default").Create(t.Context(), rs, metav1.CreateOptions{}))(t)
	pod := aPod("", func(p *v1.Pod) {
		p.GenerateName = "web-1-"
		p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))}
	})
	pod = must(c.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}))(t)
	o, _ := w.store.Get(store.Key{Kind: "core/pods", Namespace: "default", Name: pod.Name})
	if want := (store.Key{Kind: "apps/deployments", Namespace: "default", Name: "web"}); o.Root != want {
		t.Errorf("the pod's root is %v, want %v", o.Root, want)
	}
}

func TestBadInputIsRefusedWithTheReason(t *testing.T) {
	mem := memory.New()
	w := start(t, mem)
	c := w.admin(t).CoreV1().ConfigMaps("default")
	big := &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "big"}, BinaryData: map[string][]byte{"x": make([]byte, 1<<20-100)}}
	if _, err := c.Create(t.Context(), big, metav1.CreateOptions{}); !apierrors.IsRequestEntityTooLargeError(err) || !strings.Contains(err.Error(), "1 MiB") {
		t.Errorf("an object over 1 MiB gets %v, want 413", err)
	}
	raw := clientOf(t, w.config(t, "admin", "system:masters")).CoreV1().RESTClient()
	for what, body := range map[string]string{"malformed JSON": `{"kind": "ConfigMap",`, "unknown version": `{"kind":"ConfigMap","apiVersion":"v9","metadata":{"name":"x"}}`} {
		err := raw.Post().Namespace("default").Resource("configmaps").SetHeader("Content-Type", "application/json").Body([]byte(body)).Do(t.Context()).Error()
		if !apierrors.IsBadRequest(err) {
			t.Errorf("%s gets %v, want 400", what, err)
		}
	}
	mem.ReadOnlyFrom(fmt.Errorf("%w: the disk is full: free some space", store.ErrReadOnly))
	_, err := c.Create(t.Context(), &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "small"}}, metav1.CreateOptions{})
	if !apierrors.IsServiceUnavailable(err) || !strings.Contains(err.Error(), "the disk is full: free some space") {
		t.Errorf("with a full disk a write gets %v, want 503 with the reason", err)
	}
	if _, err := c.List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("with a full disk a list gets %v", err)
	}
	mem.ReadOnlyFrom(nil)
}

func TestThereAreNoCustomResources(t *testing.T) {
	w := start(t, memory.New())
	list := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	got, err := dynamic.NewForConfigOrDie(w.config(t, "admin", "system:masters")).Resource(list).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(got.Items) != 0 {
		t.Errorf("%v %v", got, err)
	}
	if _, err := dynamic.NewForConfigOrDie(w.config(t, "jane")).Resource(list).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a stranger gets %v, want 403", err)
	}
}
