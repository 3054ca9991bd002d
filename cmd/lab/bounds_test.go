package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// bounded are rooms whose bounds stand in their bounds.go, and the files of theirs that hold settings of a library or the terms of one
// algorithm beside it.
var bounded = map[string][]string{
	"../../gossip":       {"serf.go", "host.go", "judge.go", "redial.go"},
	"../../gossip/store": {"config.go", "poison.go", "stability.go", "tree.go"},
}

// named like a bound.
var boundName = regexp.MustCompile(`^(max|min)[A-Z]|(Timeout|Within|Every|Span|Queue|Burst|Wait|Budget)$`)

// A bound that stands elsewhere is one that nobody finds who asks what a peer can make a server hold: no constant that is called like one, no
// queue of a length without a name, no time of so many seconds.
func TestBoundsStandInOnePlace(t *testing.T) {
	for room, other := range bounded {
		files, err := filepath.Glob(filepath.Join(room, "*.go"))
		if err != nil || len(files) < 10 {
			t.Fatalf("%s: %d files, %v", room, len(files), err)
		}
		for _, path := range files {
			if name := filepath.Base(path); name == "bounds.go" || strings.HasSuffix(name, "_test.go") || slices.Contains(other, name) {
				continue
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range strayBounds(t, path, text) {
				t.Errorf("%s: move it to %s/bounds.go", line, room)
			}
		}
	}
}

func strayBounds(t *testing.T, path string, text []byte) (stray []string) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, text, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := func(n ast.Node, what string) {
		stray = append(stray, set.Position(n.Pos()).String()+": "+what)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GenDecl:
			if n.Tok != token.CONST {
				return true
			}
			for _, s := range n.Specs {
				for _, name := range s.(*ast.ValueSpec).Names {
					if boundName.MatchString(name.Name) {
						found(name, "the constant "+name.Name)
					}
				}
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "make" && len(n.Args) == 2 {
				_, channel := n.Args[0].(*ast.ChanType)
				if size, ok := n.Args[1].(*ast.BasicLit); ok && channel && size.Value != "1" {
					found(n, "a queue of "+size.Value)
				}
			}
		case *ast.BinaryExpr:
			for _, side := range []ast.Expr{n.X, n.Y} {
				if s, ok := side.(*ast.SelectorExpr); ok && n.Op == token.MUL && isTime(s) {
					found(n, "so many of time."+s.Sel.Name)
				}
			}
		}
		return true
	})
	return stray
}

func isTime(s *ast.SelectorExpr) bool {
	of, ok := s.X.(*ast.Ident)
	return ok && of.Name == "time" && slices.Contains([]string{"Millisecond", "Second", "Minute", "Hour"}, s.Sel.Name)
}

func TestStrayBoundsAreFound(t *testing.T) {
	text := `package p
import "time"
const maxThings, dialTimeout, name = 1, 2, 3
var a, b, c = make(chan int, 64), make(chan int, 1), make(chan int, maxThings)
func f() { time.Sleep(3 * time.Second); time.Sleep(time.Second) }
`
	if got := strayBounds(t, "p.go", []byte(text)); len(got) != 4 {
		t.Errorf("found %d of 4: %q", len(got), got)
	}
}
