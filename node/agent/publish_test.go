package agent

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestAStatusThatWasWrittenOverIsWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, writes := fake.NewClientset(), 0
		api.PrependReactor("update", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
			writes++
			out := a.(clienttesting.UpdateAction).GetObject().DeepCopyObject().(*v1.Pod)
			out.ResourceVersion = "15"
			return true, out, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer func() { cancel(); synctest.Wait() }()
		p := newPublisher(api, slog.New(slog.DiscardHandler))
		go p.run(ctx)
		runs, pending := v1.PodStatus{Phase: v1.PodRunning}, v1.PodStatus{Phase: v1.PodPending}
		for _, step := range []struct {
			what, version string
			shown         v1.PodStatus
			writes        int
		}{
			{"the first word", "10", pending, 1},
			{"the watch is behind", "12", pending, 1},
			{"the watch shows it", "15", runs, 1},
			{"something else changed", "16", runs, 1},
			{"somebody wrote over it", "17", pending, 2},
		} {
			p.set(&v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", ResourceVersion: step.version}, Status: step.shown}, runs)
			synctest.Wait()
			if writes != step.writes {
				t.Errorf("%s: %d writes, want %d", step.what, writes, step.writes)
			}
		}
	})
}
