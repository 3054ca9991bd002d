package netmesh

import (
	"os/exec"
	"strings"
	"testing"
)

// TestWalls keeps the core pure: a decision about the network that needs a kernel can't be tested without one.
func TestWalls(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, out)
	}
	for _, path := range strings.Fields(string(out)) {
		first, _, _ := strings.Cut(path, "/")
		if strings.Contains(first, ".") || path == "net" || path == "os" || path == "syscall" {
			t.Errorf("netmesh imports %s: its core is a function of values, with the standard library alone", path)
		}
	}
	out, err = exec.Command("go", "list", "-deps", "./...").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, out)
	}
	const own = "github.com/orpheus-mesh/orpheus/"
	for _, path := range strings.Fields(string(out)) {
		if strings.HasPrefix(path, "k8s.io/") || strings.HasPrefix(path, own) && !strings.HasPrefix(path, own+"netmesh") {
			t.Errorf("netmesh depends on %s: only the node tree translates between rooms", path)
		}
	}
}
