package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Every command that the README gives for make and for the lab must exist; the stories run those of the lab and of orpheus as they stand there.
func TestReadmeCommandsExist(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	figure := false
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "```") {
			figure = !figure
		}
		if figure {
			continue
		}
		command, isCode := strings.CutPrefix(line, "    ")
		if !isCode {
			continue
		}
		command, _, _ = strings.Cut(command, "#")
		f := strings.Fields(command)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "make":
			cmd := exec.Command("make", append([]string{"--dry-run"}, f[1:]...)...)
			cmd.Dir = "../.."
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", command, err, out)
			}
		case "bin/lab":
			checkLab(t, f[1:])
		case "orpheus", "kubectl", "mkdir": // the stories run these, and those of the lab once more for real
		default:
			t.Errorf("%s: nothing tests this command", command)
		}
		seen++
	}
	if seen < 10 {
		t.Errorf("found %d commands, the README has more: does this test still read it rightly?", seen)
	}
}

func checkLab(t *testing.T, args []string) {
	t.Helper()
	cmd, rest, err := newCommand().Find(args)
	if err != nil || !cmd.Runnable() {
		t.Errorf("lab %v: no such command (%v)", args, err)
		return
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Errorf("lab %v: %v", args, err)
		return
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		t.Errorf("lab %v: %v", args, err)
	}
}
