package agent

import (
	"errors"
	"fmt"
	"testing"

	v1 "k8s.io/api/core/v1"
)

func TestEachAttemptFailsInTheSameWords(t *testing.T) {
	engine := errors.New("exec: \"/none\": no such file or directory")
	c := &v1.Container{Name: "web"}
	first := plain("start", c, fmt.Errorf("start container 0ae0eca9d42f: %w", engine))
	second := plain("start", c, fmt.Errorf("start container 65273d3e9d5b: %w", engine))
	if want := `failed to start container "web": exec: "/none": no such file or directory`; first.Error() != want || second.Error() != want {
		t.Errorf("got  %s\nand  %s\nwant %s", first, second, want)
	}
	if got := plain("create", c, engine); !errors.Is(got, engine) {
		t.Errorf("an error that wraps nothing got lost: %v", got)
	}
}
