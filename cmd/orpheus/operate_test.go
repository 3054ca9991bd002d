package main

import (
	"strings"
	"testing"
	"time"

	"github.com/orpheus-mesh/orpheus/node/control"
)

func TestMembersAreListedByName(t *testing.T) {
	var out strings.Builder
	err := printMembers(&out, []control.Member{{Name: "c", ID: "1"}, {Name: "a", ID: "3"}, {Name: "b", ID: "2"}, {Name: "a", ID: "0"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n")[1:] {
		f := strings.Fields(line)
		got = append(got, f[0]+f[len(f)-1])
	}
	if s := strings.Join(got, " "); s != "a0 a3 b2 c1" {
		t.Errorf("%s", s)
	}
}

func TestAnEditWithoutATimeClaimsNone(t *testing.T) {
	var out strings.Builder
	printEdit(&out, "executes", control.Edit{Author: "m1"}, false)
	printEdit(&out, "waits", control.Edit{Author: "m2", Time: time.Unix(0, 0), Delete: true}, false)
	if want := "  executes: by m1\n  waits (deletion): by m2 at 1970-01-01T00:00:00Z\n"; out.String() != want {
		t.Errorf("%q", out.String())
	}
}
