package ingress

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Match says how a rule's path is compared. Both are case-sensitive.
type Match uint8

const (
	Prefix Match = iota // element by element: /a matches /a, /a/ and /a/b, never /ab
	Exact
)

func (m Match) String() string {
	if m == Exact {
		return "Exact"
	}
	return "Prefix"
}

// Rule sends the requests of a host and path to a backend.
type Rule struct {
	Name    string // "namespace/name" of the ingress, for people
	Host    string // "": any; "*.example.com": exactly one label more
	Path    string // "": "/"
	Match   Match
	Backend Backend
}

// Backend is a service port with its ready endpoints. Backends of one name are one.
type Backend struct {
	Name      string // "namespace/service:port"
	Endpoints []netip.AddrPort
	Missing   string // what there would have to be before it can have endpoints, as the 503 page says it: "there is no such service"; "": nothing
}

// Certificate is a PEM pair. Hosts may be empty: then the names in the certificate count.
type Certificate struct {
	Name      string // "namespace/secret", for people
	Hosts     []string
	Cert, Key []byte
}

// Route is what a request is matched to.
type Route struct {
	Rule    Rule // Backend.Endpoints are those of the Table's backend
	backend int  // index into Table.backends
	index   int  // index into Table.routes
}

// Table is a set of routes and certificates. It never changes, so any number of goroutines may read it.
type Table struct {
	routes   []*Route
	backends []Backend
	named    map[string]int // index into backends
	exact    map[string]*paths
	wildcard map[string]*paths // by what follows the first label
	any      *paths
	fallback *Route
	certs    certificates
}

// Compile builds a Table. It never fails as a whole: what is wrong is left out and reported, one error each. Of two rules
// for the same host, path and match the first counts. fallback takes what no rule matches; nil: 404.
func Compile(rules []Rule, certs []Certificate, fallback *Backend) (*Table, []error) {
	t := &Table{named: map[string]int{}, exact: map[string]*paths{}, wildcard: map[string]*paths{}, any: newPaths()}
	var errs []error
	for _, r := range rules {
		if err := t.add(r); err != nil {
			errs = append(errs, fmt.Errorf("ingress %s, host %q, path %q: %w", r.Name, r.Host, r.Path, err))
		}
	}
	if fallback != nil {
		r, err := t.route(Rule{Name: "default backend", Path: "/", Backend: *fallback})
		if err != nil {
			errs = append(errs, fmt.Errorf("default backend: %w", err))
		}
		t.fallback = r
	}
	for _, c := range certs {
		errs = append(errs, t.certs.add(c)...)
	}
	return t, errs
}

func (t *Table) add(r Rule) error {
	if r.Path == "" {
		r.Path = "/"
	}
	if !strings.HasPrefix(r.Path, "/") {
		return errors.New("the path does not start with /")
	}
	if r.Match > Exact {
		return fmt.Errorf("unknown match %d", r.Match)
	}
	ps, err := t.paths(r.Host)
	if err != nil {
		return err
	}
	if other := ps.get(r.Path, r.Match); other != nil {
		return fmt.Errorf("ingress %s has the same rule and was first", other.Rule.Name)
	}
	route, err := t.route(r)
	ps.put(r.Path, r.Match, route)
	return err
}

// paths returns those of the host that a rule names.
func (t *Table) paths(host string) (*paths, error) {
	if strings.ContainsAny(host, "/:@[] ") {
		return nil, errors.New("not a host name")
	}
	host = canonical(host)
	suffix, wild := strings.CutPrefix(host, "*.")
	switch {
	case host == "":
		return t.any, nil
	case wild && suffix == "", strings.Contains(suffix, "*"):
		return nil, errors.New("not a host name: a wildcard stands for the whole first label")
	case wild:
		return sub(t.wildcard, suffix), nil
	}
	return sub(t.exact, host), nil
}

func sub(m map[string]*paths, host string) *paths {
	if m[host] == nil {
		m[host] = newPaths()
	}
	return m[host]
}

func (t *Table) route(r Rule) (*Route, error) {
	i, known := t.named[r.Backend.Name]
	var err error
	switch {
	case !known:
		i = len(t.backends)
		t.named[r.Backend.Name] = i
		b := Backend{Name: r.Backend.Name, Missing: r.Backend.Missing}
		for _, e := range r.Backend.Endpoints {
			if e.IsValid() && !slices.Contains(b.Endpoints, e) {
				b.Endpoints = append(b.Endpoints, e)
			}
		}
		t.backends = append(t.backends, b)
	case !sameEndpoints(t.backends[i].Endpoints, r.Backend.Endpoints):
		err = fmt.Errorf("backend %s was given with other endpoints before; those count", r.Backend.Name)
	}
	r.Backend = t.backends[i]
	route := &Route{Rule: r, backend: i, index: len(t.routes)}
	t.routes = append(t.routes, route)
	return route, err
}

func sameEndpoints(a, b []netip.AddrPort) bool {
	for _, e := range b {
		if e.IsValid() && !slices.Contains(a, e) {
			return false
		}
	}
	for _, e := range a {
		if !slices.Contains(b, e) {
			return false
		}
	}
	return true
}

// Route finds the rule for a request: the host as in its Host header, the path decoded. An exact host goes before a
// wildcard, that before rules without host; within a host the longest path, and Exact before Prefix. A request that no path of a
// more specific host matches is still offered to the less specific, because a rule without host is for all traffic.
func (t *Table) Route(host, path string) (*Route, bool) {
	host, path = canonical(host), clean(path)
	if r := t.exact[host].find(path); r != nil {
		return r, true
	}
	if _, suffix, ok := strings.Cut(host, "."); ok {
		if r := t.wildcard[suffix].find(path); r != nil {
			return r, true
		}
	}
	if r := t.any.find(path); r != nil {
		return r, true
	}
	return t.fallback, t.fallback != nil
}

// Certificate returns the one for a server name, false when there is none.
func (t *Table) Certificate(serverName string) (*tls.Certificate, bool) {
	return t.certs.find(canonical(serverName))
}

// canonical is a host in lower case without port and final dot; an IPv6 address keeps its brackets.
func canonical(host string) string {
	if end := strings.IndexByte(host, ']'); end >= 0 {
		host = host[:end+1]
	} else if colon := strings.IndexByte(host, ':'); colon >= 0 {
		host = host[:colon]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
