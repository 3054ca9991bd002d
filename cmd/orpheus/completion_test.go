package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/orpheus-mesh/orpheus/node/control"
)

func TestTheShellIsOfferedKubectlsOwnWords(t *testing.T) {
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	for line, want := range map[string]string{"kubectl rollout un": "undo", "kubectl get -A --out": "--output", "kubectl get pods -o ya": "yaml", "fen": "fence"} {
		cmd := root()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&bytes.Buffer{})
		cmd.SetArgs(append([]string{cobra.ShellCompNoDescRequestCmd}, strings.Fields(line)...))
		if err := cmd.Execute(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Split(out.String(), "\n"); !slices.Contains(got, want) {
			t.Errorf("%s: %q lack %s", line, got, want)
		}
	}
}

func TestOtherServersAreOfferedByName(t *testing.T) {
	got := serverNames([]control.Member{{Name: "m1", Self: true}, {Name: "m2", State: "failed"}, {Name: "x1"}}, "m")
	if len(got) != 1 || got[0] != "m2\tfailed" {
		t.Errorf("%q", got)
	}
}
