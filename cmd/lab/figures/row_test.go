package figures

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRowIsMedianAndWorst(t *testing.T) {
	for _, c := range []struct {
		values        []float64
		median, worst float64
	}{
		{nil, 0, 0},
		{[]float64{3}, 3, 3},
		{[]float64{9, 1, 2}, 2, 9},
		{[]float64{4, 1, 3, 10}, 3.5, 10},
	} {
		r := row("x", "s", c.values...)
		if r.Median != c.median || r.Worst != c.worst || r.N != len(c.values) {
			t.Errorf("%v: %+v, want median %v and worst %v", c.values, r, c.median, c.worst)
		}
	}
}

func TestGoals(t *testing.T) {
	for _, c := range []struct {
		row  Row
		goal string
		met  bool
	}{
		{row("", "", 4, 5, 9).atMost(5, 10), "median ≤ 5, worst ≤ 10", true},
		{row("", "", 4, 5, 11).atMost(5, 10), "median ≤ 5, worst ≤ 10", false},
		{row("", "", 6, 6, 6).atMost(5, 10), "median ≤ 5, worst ≤ 10", false},
		{row("", "", 2, 50, 2).atMost(3, anything), "median ≤ 3", true},
		{row("", "", 0, 0, 0.6).atMost(anything, 0.5), "≤ 0.50", false},
		{row("", "", 0, 0).atMost(0, 0), "≤ 0", true},
		{row("", "").atMost(0, 0), "≤ 0", false}, // nothing measured is nothing shown
	} {
		if c.row.Goal != c.goal || *c.row.Met != c.met {
			t.Errorf("%+v: goal %q met %t, want %q met %t", c.row, c.row.Goal, *c.row.Met, c.goal, c.met)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 3: "3", 0.004: "0.004", 0.256: "0.26", 4.126: "4.13", 12.34: "12.3", 1234.5: "1234"} {
		if got := number(v); got != want {
			t.Errorf("%v prints as %s, want %s", v, got, want)
		}
	}
}

func TestResultTellsWhatWasMissed(t *testing.T) {
	good := &Result{Figure: "a", Rows: []Row{row("x", "s", 1).atMost(1, 1), row("y", "", 99)}}
	bad := &Result{Figure: "b", Rows: []Row{row("x", "s", 2).atMost(1, 1)}}
	half := &Result{Figure: "c", Rows: good.Rows, Unmeasured: []string{"run 2: no"}}
	if good.Missed() || !bad.Missed() || !half.Missed() {
		t.Errorf("missed: %t %t %t, want only the last two", good.Missed(), bad.Missed(), half.Missed())
	}
	var out strings.Builder
	half.Rows = append(half.Rows, bad.Rows...)
	half.Print(&out)
	for _, want := range []string{"| x, s ", "met", "MISSED", "not measured: run 2: no"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
}

func TestKeepReplacesOnlyItsOwn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "figures.json")
	for _, r := range []*Result{
		{Figure: "a", Rows: []Row{row("x", "s", 1)}}, {Figure: "b", Rows: []Row{row("x", "s", 2)}}, {Figure: "a", Rows: []Row{row("x", "s", 3)}},
	} {
		if err := Keep(file, r); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(b); strings.Count(s, `"figure"`) != 2 || strings.Contains(s, `"median": 1`) || !strings.Contains(s, `"median": 3`) {
		t.Errorf("%s, want b and the later a", s)
	}
	if err := os.WriteFile(file, []byte("hosts: 3"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Keep(file, &Result{Figure: "a"}); err == nil {
		t.Error("a file of somebody else was overwritten")
	}
}

func TestTrafficIsPromisedOfThreeDaemonsWithoutPods(t *testing.T) {
	host := SpreadHost{Sent: 1700, Received: 2100}
	three := SpreadRun{Hosts: []SpreadHost{host, host, host}}
	for _, c := range []struct {
		what    string
		run     SpreadRun
		rows    int
		verdict string
	}{
		{"pods ran", SpreadRun{Pods: 4}, 2, ""},
		{"three daemons", three, 4, "MISSED"},
		{"five daemons", SpreadRun{Hosts: append(three.Hosts, host, host)}, 4, ""},
	} {
		rows := spreadRows([]SpreadRun{c.run})
		if len(rows) != c.rows || c.rows == 4 && (rows[3].verdict() != c.verdict || rows[3].Worst != 2.1) {
			t.Errorf("%s: %+v", c.what, rows)
		}
	}
}
