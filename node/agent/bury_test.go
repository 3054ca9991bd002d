package agent

import (
	"errors"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

// A deletion that meets somebody else's write is refused, and that is no success: it is tried again soon.
func TestADeletionThatMeetsAnotherWriteIsTriedAgain(t *testing.T) {
	inMachine(t, func(t *testing.T, m *machine) {
		refused := 0
		m.api.PrependReactor("delete", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			if refused == 8 {
				return false, nil, nil
			}
			refused++
			return true, nil, apierrors.NewConflict(v1.Resource("pods"), "p", errors.New("others changed it in the meantime"))
		})
		m.pod("p", one("c"))
		m.settle(time.Second)
		m.delete("p", 1)
		m.settle(relist / 2)
		if m.exists("p") {
			t.Errorf("after %d refusals the pod is still there", refused)
		}
	})
}

// A name that another pod has by now is refused too, and then the work is done: the newcomer is not touched.
func TestADeletionThatMeetsANamesakeIsDone(t *testing.T) {
	inMachine(t, func(t *testing.T, m *machine) {
		asked := 0
		m.api.PrependReactor("delete", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
			asked++
			if asked == 1 {
				other := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "uid-other"}, Spec: v1.PodSpec{NodeName: "elsewhere"}}
				err := m.api.Tracker().Delete(a.GetResource(), "ns", "p")
				if err == nil {
					err = m.api.Tracker().Create(a.GetResource(), other, "ns")
				}
				if err != nil {
					t.Error(err)
				}
			}
			return true, nil, apierrors.NewConflict(v1.Resource("pods"), "p", errors.New("the UID in the precondition does not match"))
		})
		m.pod("p", one("c"))
		m.settle(time.Second)
		m.delete("p", 1)
		m.settle(10 * time.Minute)
		if asked > 3 || !m.exists("p") { // an event may come in between
			t.Errorf("asked %d times", asked)
		}
	})
}
