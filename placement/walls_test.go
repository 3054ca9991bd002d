package placement

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// This room knows neither its neighbours nor Kubernetes types: node translates at the doors. It needs only the standard library, and
// reckons in integers, because processors do not agree about the last bit of the others.
func TestWalls(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, f, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range parsed.Imports {
			path, _ := strconv.Unquote(i.Path.Value)
			if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") {
				t.Errorf("%s imports %s", f, path)
			}
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			name, is := n.(*ast.Ident)
			number, literal := n.(*ast.BasicLit)
			if is && (name.Name == "float64" || name.Name == "float32") || literal && number.Kind == token.FLOAT {
				t.Errorf("%s: no floating point here", set.Position(n.Pos()))
			}
			return true
		})
	}
}
