package controllers_test

import (
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/orpheus-mesh/orpheus/node/controllers"
)

func spec(labels map[string]string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "busybox"}}}}
}

func (w *whole) running(app string) (names map[string]string) {
	w.t.Helper()
	l, err := w.client.CoreV1().Pods("shop").List(w.t.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		w.t.Fatal(err)
	}
	names = map[string]string{}
	for _, p := range l.Items {
		if p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning {
			names[p.Name] = p.Spec.NodeName
		}
	}
	return names
}

// One node's whole life over its real store and API: every controller of the roster does its work, unmodified.
func TestTheWholeOverARealAPI(t *testing.T) {
	w := startWhole(t)
	ctx, c := t.Context(), w.client
	create := metav1.CreateOptions{}
	w.node("n1")
	w.node("n2")
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	must(c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, create))
	w.await("the default ServiceAccount", func() bool {
		_, err := c.CoreV1().ServiceAccounts("shop").Get(ctx, "default", metav1.GetOptions{})
		return err == nil
	})
	w.await("the root CA", func() bool {
		m, err := c.CoreV1().ConfigMaps("shop").Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return err == nil && m.Data["ca.crt"] != ""
	})

	three, web := int32(3), map[string]string{"app": "web"}
	must(c.AppsV1().Deployments("shop").Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{Replicas: &three, Selector: &metav1.LabelSelector{MatchLabels: web}, Template: spec(web)}}, create))
	must(c.CoreV1().Services("shop").Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{Selector: web, Ports: []corev1.ServicePort{{Port: 80}}}}, create))
	most := intstr.FromInt32(1)
	must(c.PolicyV1().PodDisruptionBudgets("shop").Create(ctx, &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &most, Selector: &metav1.LabelSelector{MatchLabels: web}}}, create))
	w.await("an available Deployment", func() bool {
		d, err := c.AppsV1().Deployments("shop").Get(ctx, "web", metav1.GetOptions{})
		return err == nil && d.Status.AvailableReplicas == 3
	})
	w.await("three endpoints", func() bool {
		l, err := c.DiscoveryV1().EndpointSlices("shop").List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=web"})
		n := 0
		for _, s := range l.Items {
			n += len(s.Endpoints)
		}
		return err == nil && n == 3
	})
	w.await("a disruption budget", func() bool {
		b, err := c.PolicyV1().PodDisruptionBudgets("shop").Get(ctx, "web", metav1.GetOptions{})
		return err == nil && b.Status.ExpectedPods == 3 && b.Status.DisruptionsAllowed == 1
	})

	// Creation times count in seconds: what is replaced is older than that.
	time.Sleep(1100 * time.Millisecond)
	originals := w.running("web")
	w.set("n2", controllers.Failed)
	lost := 0
	for _, host := range originals {
		if host == "n2" {
			lost++
		}
	}
	if lost == 0 {
		t.Fatal("no pod ran on n2")
	}
	w.await("replacements of a lost host's pods", func() bool { return len(w.running("web")) == 3+lost })
	w.set("n2", controllers.Alive)
	w.await("the surplus gone", func() bool { return len(w.running("web")) == 3 })
	for name := range originals {
		if w.running("web")[name] == "" {
			t.Errorf("original %s was not kept", name)
		}
	}

	// A schedule whose last time was two minutes ago has missed one since, and makes up for it.
	asleep, nightly := true, &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "nightly"}, Spec: batchv1.CronJobSpec{Schedule: "* * * * *",
		JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: spec(map[string]string{"app": "nightly"})}}}}
	nightly.Spec.Suspend, nightly.Spec.JobTemplate.Spec.Template.Spec.RestartPolicy = &asleep, corev1.RestartPolicyNever
	nightly, err := c.BatchV1().CronJobs("shop").Create(ctx, nightly, create)
	must(nightly, err)
	nightly.Status.LastScheduleTime = &metav1.Time{Time: time.Now().Add(-2 * time.Minute)}
	nightly, err = c.BatchV1().CronJobs("shop").UpdateStatus(ctx, nightly, metav1.UpdateOptions{})
	must(nightly, err)
	must(c.BatchV1().CronJobs("shop").Patch(ctx, "nightly", types.MergePatchType, []byte(`{"spec":{"suspend":false}}`), metav1.PatchOptions{}))
	w.await("a job of the schedule", func() bool {
		l, err := c.BatchV1().Jobs("shop").List(ctx, metav1.ListOptions{})
		return err == nil && slices.ContainsFunc(l.Items, func(j batchv1.Job) bool { return metav1.IsControlledBy(&j, nightly) })
	})

	one, ends := int32(1), map[string]string{"app": "sum", "ends": "yes"}
	must(c.BatchV1().Jobs("shop").Create(ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "sum"}, Spec: batchv1.JobSpec{
		ManualSelector: new(true), Selector: &metav1.LabelSelector{MatchLabels: ends}, TTLSecondsAfterFinished: &one, Completions: &three, Parallelism: &three, Template: func() corev1.PodTemplateSpec {
			s := spec(ends)
			s.Spec.RestartPolicy = corev1.RestartPolicyNever
			return s
		}()}}, create))
	w.await("a finished job", func() bool {
		j, err := c.BatchV1().Jobs("shop").Get(ctx, "sum", metav1.GetOptions{})
		return apierrors.IsNotFound(err) || err == nil && j.Status.CompletionTime != nil
	})

	agent := map[string]string{"app": "agent"}
	must(c.AppsV1().DaemonSets("shop").Create(ctx, &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "agent"},
		Spec: appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: agent}, Template: spec(agent)}}, create))
	db := map[string]string{"app": "db"}
	must(c.AppsV1().StatefulSets("shop").Create(ctx, &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec: appsv1.StatefulSetSpec{Replicas: &one, ServiceName: "db", Selector: &metav1.LabelSelector{MatchLabels: db}, Template: spec(db)}}, create))
	w.await("a daemon on both nodes", func() bool {
		hosts := map[string]bool{}
		for _, h := range w.running("agent") {
			hosts[h] = true
		}
		return len(hosts) == 2
	})
	w.await("the database", func() bool { return w.running("db")["db-0"] != "" })
	w.await("the finished job gone, with its pods", func() bool {
		_, err := c.BatchV1().Jobs("shop").Get(ctx, "sum", metav1.GetOptions{})
		l, lerr := c.CoreV1().Pods("shop").List(ctx, metav1.ListOptions{LabelSelector: "app=sum"})
		return apierrors.IsNotFound(err) && lerr == nil && len(l.Items) == 0
	})

	orphan := metav1.DeletePropagationOrphan
	if err := c.AppsV1().StatefulSets("shop").Delete(ctx, "db", metav1.DeleteOptions{PropagationPolicy: &orphan}); err != nil {
		t.Fatal(err)
	}
	w.await("an orphaned database", func() bool {
		_, err := c.AppsV1().StatefulSets("shop").Get(ctx, "db", metav1.GetOptions{})
		p, perr := c.CoreV1().Pods("shop").Get(ctx, "db-0", metav1.GetOptions{})
		return apierrors.IsNotFound(err) && perr == nil && len(p.OwnerReferences) == 0 && p.DeletionTimestamp == nil
	})
	front := metav1.DeletePropagationForeground
	if err := c.AppsV1().Deployments("shop").Delete(ctx, "web", metav1.DeleteOptions{PropagationPolicy: &front}); err != nil {
		t.Fatal(err)
	}
	w.await("the Deployment gone after its pods", func() bool {
		_, err := c.AppsV1().Deployments("shop").Get(ctx, "web", metav1.GetOptions{})
		return apierrors.IsNotFound(err) && len(w.running("web")) == 0
	})
	if err := c.CoreV1().Namespaces().Delete(ctx, "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.await("the namespace gone", func() bool {
		_, err := c.CoreV1().Namespaces().Get(ctx, "shop", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}
