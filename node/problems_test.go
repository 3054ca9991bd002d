package node

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func nodeWith(name string, conditions ...corev1.NodeCondition) corev1.Node {
	return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Conditions: conditions}}
}

func TestAShortageIsAProblemOfTheServerThatHasIt(t *testing.T) {
	full := corev1.NodeCondition{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue, Message: "only 0 MiB are free on the disk of /d"}
	enough := corev1.NodeCondition{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse, Message: "there is enough memory"}
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Message: "Docker Engine answers"}
	nodes := []corev1.Node{nodeWith("a", ready, enough, full), nodeWith("b", ready, enough)}
	got := shortages("a", nodes)
	if len(got) != 1 || got[0].Why != full.Message || !strings.Contains(got[0].Mend, "free space") {
		t.Errorf("a says %+v", got)
	}
	if got := shortages("b", nodes); len(got) != 0 {
		t.Errorf("b says %+v", got)
	}
}
