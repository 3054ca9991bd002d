package ingress

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func rule(name, host, path string, m Match) Rule {
	return Rule{Name: name, Host: host, Path: path, Match: m, Backend: Backend{Name: "default/" + name + ":80", Endpoints: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:80")}}}
}

func compile(t *testing.T, rules ...Rule) *Table {
	t.Helper()
	table, errs := Compile(rules, nil, nil)
	for _, err := range errs {
		t.Error(err)
	}
	return table
}

func routed(t *Table, host, path string) string {
	r, ok := t.Route(host, path)
	if !ok {
		return ""
	}
	return r.Rule.Name
}

// The table of the Kubernetes documentation (concepts/services-networking/ingress, "Examples").
func TestPathsOfTheDocumentation(t *testing.T) {
	for _, c := range []struct {
		match   Match
		paths   string
		request string
		want    string
	}{
		{Prefix, "/", "/anything/at/all", "/"},
		{Exact, "/foo", "/foo", "/foo"},
		{Exact, "/foo", "/bar", ""},
		{Exact, "/foo", "/foo/", ""},
		{Exact, "/foo/", "/foo", ""},
		{Prefix, "/foo", "/foo", "/foo"},
		{Prefix, "/foo", "/foo/", "/foo"},
		{Prefix, "/foo/", "/foo", "/foo/"},
		{Prefix, "/foo/", "/foo/", "/foo/"},
		{Prefix, "/aaa/bb", "/aaa/bbb", ""},
		{Prefix, "/aaa/bbb", "/aaa/bbb", "/aaa/bbb"},
		{Prefix, "/aaa/bbb/", "/aaa/bbb", "/aaa/bbb/"},
		{Prefix, "/aaa/bbb", "/aaa/bbb/", "/aaa/bbb"},
		{Prefix, "/aaa/bbb", "/aaa/bbb/ccc", "/aaa/bbb"},
		{Prefix, "/aaa/bbb", "/aaa/bbbxyz", ""},
		{Prefix, "/ /aaa", "/aaa/ccc", "/aaa"},
		{Prefix, "/aaa /", "/aaa/ccc", "/aaa"},
		{Prefix, "/aaa /", "/ccc", "/"},
		{Prefix, "/aaa", "/ccc", ""},
		{Prefix, "/a/b/c /a", "/a/b/x/y/z", "/a"},
		{Prefix, "/foo", "/bar/../foo/x", "/foo"},
		{Prefix, "/public", "/public/../admin", ""},
		{Prefix, "/public", "//public//x", "/public"},
		{Prefix, "/", "", "/"},
		{Exact, "/", "/", "/"},
		{Exact, "/", "/x", ""},
	} {
		var rules []Rule
		for _, p := range strings.Fields(c.paths) {
			rules = append(rules, rule(p, "", p, c.match))
		}
		if got := routed(compile(t, rules...), "h", c.request); got != c.want {
			t.Errorf("%s %s, request %s: %q, want %q", c.match, c.paths, c.request, got, c.want)
		}
	}
}

func TestPrecedence(t *testing.T) {
	table := compile(t,
		rule("any", "", "/", Prefix), rule("any-deep", "", "/only/any", Prefix),
		rule("wild", "*.example.com", "/", Prefix), rule("wild-x", "*.example.com", "/x", Prefix),
		rule("foo", "foo.example.com", "/app", Prefix), rule("foo-exact", "foo.example.com", "/app", Exact), rule("foo-long", "foo.example.com", "/app/long", Prefix))
	for _, c := range []struct{ host, path, want string }{
		{"foo.example.com", "/app", "foo-exact"},
		{"foo.example.com", "/app/", "foo"},
		{"foo.example.com", "/app/long/er", "foo-long"},
		{"FOO.example.com.:8080", "/app/x", "foo"},
		{"foo.example.com", "/x", "wild-x"}, // no path of the exact host fits
		{"bar.example.com", "/x/y", "wild-x"},
		{"a.b.example.com", "/x", "any"}, // one label only
		{"example.com", "/x", "any"},
		{"", "/only/any/thing", "any-deep"},
		{"[2001:db8::1]:443", "/", "any"},
		{"10.0.0.1:80", "/", "any"},
	} {
		if got := routed(table, c.host, c.path); got != c.want {
			t.Errorf("%s%s: %q, want %q", c.host, c.path, got, c.want)
		}
	}
}

func TestCanonicalHosts(t *testing.T) {
	for in, want := range map[string]string{
		"Example.COM": "example.com", "example.com:80": "example.com", "example.com.": "example.com", "": "",
		"[::1]:80": "[::1]", "[::1]": "[::1]", "a:": "a",
	} {
		if got := canonical(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestCompileReportsAndGoesOn(t *testing.T) {
	other := rule("late", "x.com", "/", Prefix)
	other.Backend.Name = "default/first:80"
	other.Backend.Endpoints = nil
	other.Path = "/late"
	table, errs := Compile([]Rule{
		rule("first", "x.com", "/", Prefix), rule("second", "X.com", "/", Prefix),
		rule("relative", "", "x", Prefix), rule("star", "a.*.com", "/", Prefix), rule("port", "x.com:80", "/", Prefix), other,
	}, []Certificate{{Name: "default/bad", Cert: []byte("no"), Key: []byte("pem")}}, &Backend{Name: "default/rest:80"})
	want := []string{
		`ingress second, host "X.com", path "/": ingress first has the same rule and was first`,
		`ingress relative, host "", path "x": the path does not start with /`,
		`ingress star, host "a.*.com", path "/": not a host name`,
		`ingress port, host "x.com:80", path "/": not a host name`,
		`ingress late, host "x.com", path "/late": backend default/first:80 was given with other endpoints before`,
		`certificate default/bad: `,
	}
	if len(errs) != len(want) {
		t.Fatalf("%d errors: %v", len(errs), errs)
	}
	for i := range want {
		if !strings.HasPrefix(errs[i].Error(), want[i]) {
			t.Errorf("%v, want %s…", errs[i], want[i])
		}
	}
	if got := routed(table, "x.com", "/"); got != "first" {
		t.Errorf("x.com: %q", got)
	}
	if got := routed(table, "y.com", "/z"); got != "default backend" {
		t.Errorf("y.com: %q", got)
	}
}

// A request of thousands of slashes costs no more than the deepest rule.
func BenchmarkRoute(b *testing.B) {
	var rules []Rule
	for i := range 1000 {
		rules = append(rules, rule(fmt.Sprint("r", i), fmt.Sprintf("host%d.example.com", i), "/api/v1", Prefix))
	}
	table, _ := Compile(rules, nil, nil)
	for name, path := range map[string]string{"short": "/api/v1/users/7", "slashes": strings.Repeat("/a", 15000)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				table.Route("host500.example.com", path)
			}
		})
	}
}
