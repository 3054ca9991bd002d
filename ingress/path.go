package ingress

import (
	"path"
	"strings"
)

// paths are the rules of one host. A nil *paths has none.
type paths struct {
	exact  map[string]*Route
	prefix map[string]*Route // without final slash; "" is the root
	depth  int               // elements of the longest prefix
}

func newPaths() *paths { return &paths{exact: map[string]*Route{}, prefix: map[string]*Route{}} }

func (p *paths) get(path string, m Match) *Route {
	if m == Exact {
		return p.exact[path]
	}
	return p.prefix[strings.TrimRight(path, "/")]
}

func (p *paths) put(path string, m Match, r *Route) {
	if m == Exact {
		p.exact[path] = r
		return
	}
	path = strings.TrimRight(path, "/")
	p.prefix[path] = r
	p.depth = max(p.depth, strings.Count(path, "/"))
}

// find looks up the path, then its ancestors from the deepest that any rule has: a request of thousands of slashes costs no more
// than the deepest rule.
func (p *paths) find(path string) *Route {
	if p == nil {
		return nil
	}
	if r := p.exact[path]; r != nil {
		return r
	}
	for path = cut(path, p.depth); ; path = path[:strings.LastIndexByte(path, '/')] {
		if r := p.prefix[path]; r != nil {
			return r
		}
		if path == "" {
			return nil
		}
	}
}

// cut returns the first n elements of a clean path, without final slash.
func cut(path string, n int) string {
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			if n--; n == 0 {
				return path[:i]
			}
		}
	}
	if n == 0 {
		return ""
	}
	return strings.TrimSuffix(path, "/")
}

// clean removes empty, . and .. elements, so that /public/../admin is matched as what a server behind will make of it. A
// final slash stays.
func clean(p string) string {
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	if !strings.Contains(p, "//") && !strings.Contains(p, "/.") {
		return p
	}
	c := path.Clean(p)
	if c != "/" && (strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..")) {
		c += "/"
	}
	return c
}
