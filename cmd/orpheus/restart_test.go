package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// script writes a program, or what should be one.
func script(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "orpheus")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAProgramThatCannotFollowIsRefusedWithTheReason(t *testing.T) {
	for name, c := range map[string]struct{ path, want string }{
		"missing":               {filepath.Join(t.TempDir(), "none"), "no such file"},
		"not executable":        {script(t, "#!/bin/sh\n", 0o600), "permission denied"},
		"wrong format":          {script(t, "hello", 0o700), "exec format error"},
		"another program":       {script(t, "#!/bin/sh\necho GNU coreutils\n", 0o700), "does not answer as orpheus does"},
		"refuses configuration": {script(t, "#!/bin/sh\necho error: zone: bad >&2\nexit 1\n", 0o700), "error: zone: bad"},
	} {
		if _, err := (program{c.path, []string{"orpheus", "up"}}).check(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestTheCheckGetsTheArgumentsOfTheDaemon(t *testing.T) {
	argv := []string{"orpheus", "up", "--zone", "a b"}
	version, err := program{script(t, `#!/bin/sh
[ "$*" = "up --zone a b --check" ] && echo orpheus v9 || exit 1
`, 0o700), argv}.check(t.Context())
	if err != nil || version != "orpheus v9" {
		t.Errorf("%q, %v", version, err)
	}
	if len(argv) != 4 {
		t.Errorf("the arguments changed: %q", argv)
	}
}

func TestCheckStartsNothing(t *testing.T) {
	dir := t.TempDir()
	run := func(args ...string) (string, error) {
		cmd := root()
		var out strings.Builder
		cmd.SetOut(&out)
		cmd.SetArgs(append([]string{"up", "--check", "--data-dir", filepath.Join(dir, "data"), "--run-dir", filepath.Join(dir, "run")}, args...))
		err := cmd.Execute()
		return out.String(), err
	}
	if out, err := run(); err != nil || !strings.HasPrefix(out, "orpheus ") {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := run("--backend", "pigeons"); err == nil || !strings.Contains(err.Error(), "pigeons") {
		t.Errorf("a wrong setting: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("the check made %v", left)
	}
}
