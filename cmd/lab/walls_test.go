package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/orpheus-mesh/orpheus/"

// rooms that know neither one another nor Kubernetes. Each can be understood, tested and replaced alone; node brings them together.
var rooms = []string{"placement", "gossip", "netmesh", "ingress"}

type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// list asks the go command for packages; with -deps it is all that they are built from.
func list(t *testing.T, args ...string) (all []listed) {
	t.Helper()
	touch(t)
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,TestImports,XTestImports"}, args...)...)
	cmd.Dir = "../.."
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, &stderr)
	}
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestRoomsKnowNeitherOneAnotherNorKubernetes(t *testing.T) {
	for _, room := range rooms {
		t.Run(room, func(t *testing.T) {
			for _, p := range list(t, "-deps", "./"+room+"/...") {
				if breach(room, p.ImportPath) != "" {
					continue // whoever imports it is the one to tell
				}
				imports := p.Imports
				if own(p.ImportPath) { // others' tests are not built
					imports = slices.Concat(imports, p.TestImports, p.XTestImports)
				}
				for _, i := range imports {
					if reason := breach(room, i); reason != "" {
						t.Errorf("%s imports %s: %s", p.ImportPath, i, reason)
					}
				}
			}
		})
	}
}

// touch opens every source file: the go command remembers a test's result until a file that the test itself opened has changed, and what `go
// list` opens does not count.
func touch(t *testing.T) {
	t.Helper()
	for _, dir := range append([]string{"node"}, rooms...) {
		err := filepath.WalkDir(filepath.Join("../..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" {
				return err
			}
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			return f.Close()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func own(path string) bool { return strings.HasPrefix(path, module) }

// breach is why a room must not contain an import; empty where it may.
func breach(room, path string) string {
	inside := path == module+room || strings.HasPrefix(path, module+room+"/")
	switch {
	case path == "k8s.io" || strings.HasPrefix(path, "k8s.io/"):
		return "only the node tree knows Kubernetes types; give " + room + " a small type of its own and translate at the door"
	case own(path) && !inside:
		return "rooms do not know one another; let node bring them together, or let " + room + " declare the interface that it calls"
	}
	return ""
}

func TestBreach(t *testing.T) {
	for path, broken := range map[string]bool{
		module + "gossip": false, module + "gossip/store": false, "github.com/hashicorp/serf/serf": false, "net/netip": false,
		module + "gossipers": true, module + "placement": true, module + "node/roster": true, "k8s.io/api/core/v1": true,
	} {
		if got := breach("gossip", path) != ""; got != broken {
			t.Errorf("gossip importing %s: forbidden %v, want %v", path, got, broken)
		}
	}
}

// The node is put together in its own tree and in cmd; no command is imported by it.
func TestNodeImportsNoCommand(t *testing.T) {
	for _, p := range list(t, "./node/...") {
		for _, i := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if strings.HasPrefix(i, module+"cmd/") && !strings.HasPrefix(i, module+"cmd/lab/") {
				t.Errorf("%s imports %s: commands put the node together, not the other way", p.ImportPath, i)
			}
			if strings.HasPrefix(i, module+"cmd/lab/") && slices.Contains(p.Imports, i) {
				t.Errorf("%s imports %s: the lab is for tests", p.ImportPath, i)
			}
			if i == "k8s.io/kubernetes/pkg/controlplane" {
				t.Errorf("%s imports %s: it starts what a mesh must not have", p.ImportPath, i)
			}
		}
	}
}

// The top level of the project is fixed: a new folder there is a new idea, and belongs into DESIGN first.
func TestTopLevel(t *testing.T) {
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	folders := map[string]bool{}
	for file := range strings.SplitSeq(string(out), "\x00") {
		if dir, _, ok := strings.Cut(file, "/"); ok && !strings.HasPrefix(dir, ".") {
			folders[dir] = true
		}
	}
	for dir := range folders {
		if !slices.Contains([]string{"node", "gossip", "placement", "netmesh", "ingress", "cmd"}, dir) {
			t.Errorf("folder %s: the top level holds node, gossip, placement, netmesh, ingress and cmd alone", dir)
		}
	}
}
