package agent

import (
	"context"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestTaintsDriveOutWhoDoesNotTolerateThem(t *testing.T) {
	bad := v1.Taint{Key: "mood", Value: "bad", Effect: v1.TaintEffectNoExecute}
	worse := v1.Taint{Key: "disk", Effect: v1.TaintEffectNoExecute}
	exists := v1.Toleration{Key: "mood", Operator: v1.TolerationOpExists}
	for name, row := range map[string]struct {
		taints      []v1.Taint
		tolerations []v1.Toleration
		after       time.Duration // negative: never
	}{
		"no taint":                 {nil, nil, -1},
		"only for new pods":        {[]v1.Taint{{Key: "mood", Effect: v1.TaintEffectNoSchedule}}, nil, -1},
		"not tolerated":            {[]v1.Taint{bad}, nil, 0},
		"tolerated":                {[]v1.Taint{bad}, []v1.Toleration{exists}, -1},
		"everything tolerated":     {[]v1.Taint{bad, worse}, []v1.Toleration{{Operator: v1.TolerationOpExists}}, -1},
		"another value":            {[]v1.Taint{bad}, []v1.Toleration{{Key: "mood", Value: "good"}}, 0},
		"another effect":           {[]v1.Taint{bad}, []v1.Toleration{{Key: "mood", Value: "bad", Effect: v1.TaintEffectNoSchedule}}, 0},
		"one of two":               {[]v1.Taint{bad, worse}, []v1.Toleration{exists}, 0},
		"for a time":               {[]v1.Taint{bad}, []v1.Toleration{{Key: "mood", Value: "bad", TolerationSeconds: ptr.To[int64](30)}}, 30 * time.Second},
		"the shortest time counts": {[]v1.Taint{bad}, []v1.Toleration{exists, {Key: "mood", Value: "bad", TolerationSeconds: ptr.To[int64](9)}}, 9 * time.Second},
		"absence drives nobody out": {[]v1.Taint{{Key: v1.TaintNodeUnreachable, Effect: v1.TaintEffectNoExecute},
			{Key: v1.TaintNodeNotReady, Effect: v1.TaintEffectNoExecute}}, nil, -1},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1e9, 0)
			at, evict := evictedAt(row.tolerations, executing(row.taints, map[string]time.Time{}, now))
			if evict != (row.after >= 0) || evict && at.Sub(now) != row.after {
				t.Errorf("evicted %t after %s, want after %s", evict, at.Sub(now), row.after)
			}
		})
	}
}

func TestATaintedHostEvicts(t *testing.T) {
	inMachine(t, func(t *testing.T, m *machine) {
		m.pod("weak", one("c"))
		strong := one("d")
		strong.Tolerations = []v1.Toleration{{Key: "mood", Operator: v1.TolerationOpExists, TolerationSeconds: ptr.To[int64](60)}}
		m.pod("patient", strong)
		m.settle(5 * time.Second)
		m.taint(v1.Taint{Key: "mood", Effect: v1.TaintEffectNoExecute})
		m.settle(5 * time.Second)
		if m.exists("weak") || !m.exists("patient") {
			t.Errorf("after 5 s: the one that does not tolerate is there: %t, the patient one: %t", m.exists("weak"), m.exists("patient"))
		}
		m.settle(60 * time.Second)
		if m.exists("patient") {
			t.Error("its time is over, and it is there")
		}
		if m.told("weak", "TaintManagerEviction") == 0 {
			t.Error("no event tells of it")
		}
	})
}

func (m *machine) taint(taint v1.Taint) {
	m.t.Helper()
	ctx := context.Background()
	n, err := m.api.CoreV1().Nodes().Get(ctx, "host", metav1.GetOptions{})
	if err == nil {
		n.Spec.Taints = append(n.Spec.Taints, taint)
		_, err = m.api.CoreV1().Nodes().Update(ctx, n, metav1.UpdateOptions{})
	}
	if err != nil {
		m.t.Fatal(err)
	}
}
