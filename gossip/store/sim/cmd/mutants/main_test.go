package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMutantsFit: every mutant's text is in the store, once, and no two have one name. Whether it is found takes hours (make mutants).
func TestMutantsFit(t *testing.T) {
	names := map[string]bool{}
	for _, m := range mutants {
		text, err := os.ReadFile(filepath.Join("../../..", m.file))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), m.old); n != 1 || names[m.name] || m.old == m.new {
			t.Errorf("%s: its text is %d times in %s", m.name, n, m.file)
		}
		names[m.name] = true
	}
}
