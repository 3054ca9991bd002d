package replica

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"testing"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/core"
	"pgregory.net/rapid"
)

// aStatus draws a status whose conditions come from a set of types.
func aStatus(t *rapid.T, types []string) *core.Pod {
	pod := &core.Pod{}
	pod.Status.Phase = core.PodPhase(rapid.SampledFrom([]string{"Pending", "Running", "Failed"}).Draw(t, "phase"))
	pod.Status.Message = rapid.SampledFrom([]string{"", "<a> & b"}).Draw(t, "message")
	for _, name := range types {
		if rapid.Bool().Draw(t, "has "+name) {
			pod.Status.Conditions = append(pod.Status.Conditions, core.PodCondition{Type: core.PodConditionType(name),
				Status: core.ConditionStatus(rapid.SampledFrom([]string{"True", "False"}).Draw(t, "status")), Reason: rapid.SampledFrom([]string{"", "R"}).Draw(t, "reason")})
			pod.ManagedFields = append(pod.ManagedFields, metav1.ManagedFieldsEntry{Manager: name, Operation: metav1.ManagedFieldsOperationUpdate, Subresource: "status",
				FieldsV1: metav1.NewFieldsV1(`{"f:status":{"f:conditions":{}}}`)})
		}
	}
	if rapid.Bool().Draw(t, "ran") {
		pod.Status.ContainerStatuses = []core.ContainerStatus{{Name: "c", RestartCount: rapid.Int32Range(0, 3).Draw(t, "restarts")}}
	}
	return pod
}

func pieces(t *rapid.T, pod *core.Pod) (fields, []string) {
	f, order, err := fieldsOf(pod)
	if err != nil {
		t.Fatal(err)
	}
	return f, order
}

func same(a, b fields) bool {
	return maps.EqualFunc(a, b, func(x, y json.RawMessage) bool { return bytes.Equal(x, y) })
}

// carried is a remark as another node reads it.
func carried(t *rapid.T, r Remark) (got Remark) {
	b, err := json.Marshal(r)
	if err == nil {
		err = json.Unmarshal(b, &got)
	}
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestARemarkIsTheDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := []string{"a", "b", "c", "d"}
		x, _ := pieces(t, aStatus(t, all))
		y, _ := pieces(t, aStatus(t, all))
		pod := aStatus(t, all)
		z, order := pieces(t, pod)
		first, second := carried(t, Remark{Said: y.since(x)}), carried(t, Remark{Said: z.since(y)})
		if got := x.with(first.Said); !same(got, y) {
			t.Fatalf("%s\nand %s\nmake %s\ninstead of %s", x, first.Said, got, y)
		}
		if got := x.with(second.After(first).Said); !same(got, z) {
			t.Fatalf("two remarks in one make %s\ninstead of %s", got, z)
		}
		back := &core.Pod{}
		if err := z.put(back, order); err != nil || !apiequality.Semantic.DeepEqual(back, pod) {
			t.Fatalf("%s reads %v, %v", z, back, err)
		}
	})
}

// TestWritersOfDifferentConditionsDoNotMeet: in whatever order their remarks arrive, all of them are there.
func TestWritersOfDifferentConditionsDoNotMeet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := aStatus(t, []string{"own"})
		a, b := base.DeepCopy(), base.DeepCopy()
		a.Status.Conditions = append(a.Status.Conditions, core.PodCondition{Type: "gate-a", Status: "True"})
		b.Status.Conditions = append([]core.PodCondition{{Type: "gate-b", Status: "False"}}, b.Status.Conditions...)
		b.Status.Phase = core.PodSucceeded
		was, order := pieces(t, base)
		fa, _ := pieces(t, a)
		fb, _ := pieces(t, b)
		one, other := was.with(fa.since(was)).with(fb.since(was)), was.with(fb.since(was)).with(fa.since(was))
		got := &core.Pod{}
		if err := one.put(got, order); err != nil || !same(one, other) {
			t.Fatalf("%s and %s, %v", one, other, err)
		}
		if len(got.Status.Conditions) != len(base.Status.Conditions)+2 || got.Status.Phase != core.PodSucceeded {
			t.Fatalf("together they make %v", got.Status)
		}
	})
}

// TestWhatIsOlderDoesNotComeBack: a remark that was kept through a partition is laid over what the host learned meanwhile.
func TestWhatIsOlderDoesNotComeBack(t *testing.T) {
	condition := func(status string, at int64) json.RawMessage {
		return fmt.Appendf(nil, `{"status":%q,"lastTransitionTime":%q}`, status, time.Unix(at, 0).UTC().Format(time.RFC3339))
	}
	said := fields{"phase": []byte(`"Failed"`), "conditions/old": condition("False", 10), "conditions/new": condition("True", 30), "conditions/gone": null}
	now := fields{"conditions/old": condition("True", 20), "conditions/new": condition("False", 20), "conditions/gone": condition("True", 20)}
	got := now.with(said.unless(now))
	want := fields{"phase": []byte(`"Failed"`), "conditions/old": condition("True", 20), "conditions/new": condition("True", 30)}
	if !same(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}
