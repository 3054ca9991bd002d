package placement

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// The golden plans are those of every machine: this test's binary, built for the other processor and run by qemu, checks them
// there against the same files.
func TestGoldenPlansOnTheOtherProcessor(t *testing.T) {
	other, emulators := "arm64", []string{"qemu-aarch64-static", "qemu-aarch64"}
	if runtime.GOARCH == "arm64" {
		other, emulators = "amd64", []string{"qemu-x86_64-static", "qemu-x86_64"}
	}
	if testing.Short() || runtime.GOOS != "linux" {
		t.Skip("not in a short run, and on Linux only")
	}
	emulator := ""
	for _, name := range emulators {
		if path, err := exec.LookPath(name); err == nil && emulator == "" {
			emulator = path
		}
	}
	if emulator == "" {
		t.Skipf("none of %s is installed (package qemu-user-static), so %s is not tried", strings.Join(emulators, ", "), other)
	}
	binary := filepath.Join(t.TempDir(), "placement.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "GOARCH="+other, "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build for %s: %v\n%s", other, err, out)
	}
	out, err := exec.CommandContext(t.Context(), emulator, binary, "-test.run", "^TestGolden(Plans|Fingerprints)$", "-test.v").CombinedOutput()
	if err != nil || strings.Count(string(out), "--- PASS: TestGolden") != 2 {
		t.Errorf("on %s: %v\n%s", other, err, out)
	}
}
