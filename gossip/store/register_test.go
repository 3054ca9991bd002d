package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// lab is a set of cores without disk or network: a test says who writes, and who hears of what.
type lab struct {
	t     testing.TB
	now   time.Time
	cores map[string]*core
}

func newLab(t testing.TB, names ...string) *lab {
	l := &lab{t: t, now: time.UnixMilli(1_700_000_000_000), cores: map[string]*core{}}
	for _, n := range names {
		cfg, err := Config{Dir: "-", Self: n, Class: classes}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		l.cores[n] = newCore(&cfg)
	}
	return l
}

func (l *lab) object(at string, k Key) *Object {
	if e := l.cores[at].known(k); e != nil {
		return e.project()
	}
	return nil
}

// do writes on top of what the node shows.
func (l *lab) do(at string, w Write) error {
	l.now = l.now.Add(time.Millisecond)
	c := l.cores[at]
	if o := l.object(at, w.Key); o != nil {
		w.Base = o
		if w.Head.Generation == 0 {
			w.Head.Generation = o.Head.Generation + 1
		}
		if w.Head.Removed == nil {
			w.Head.Removed = o.Head.Removed
		}
	}
	ev := event{id: 1, write: &w}
	if w.Base != nil {
		ev.base = w.Base.version
	}
	for _, e := range c.Step(l.now, ev) {
		if e.answer != nil {
			return e.answer.err
		}
	}
	l.t.Fatal("no answer")
	return nil
}

// hear gives all that from has to to.
func (l *lab) hear(to, from string) {
	var recs []*Record
	l.cores[from].set.all(func(r *Record) bool { recs = append(recs, r); return true })
	rand.Shuffle(len(recs), func(i, j int) { recs[i], recs[j] = recs[j], recs[i] })
	for _, r := range recs {
		l.cores[to].Step(l.now, event{receive: []*Record{again(l.t, r)}})
	}
	if len(recs) == 0 {
		return
	}
}

// again is the record as the wire brings it.
func again(t testing.TB, r *Record) *Record {
	recs, err := decodeFrame(encodeFrame([]*Record{r}))
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	return recs[0]
}

// mix lets all hear from all, thrice: a status whose life was dead here until a person's edit revived it comes with the next
// exchange only.
func (l *lab) mix(names ...string) {
	for range 3 {
		for _, a := range names {
			for _, b := range names {
				if a != b {
					l.hear(a, b)
				}
			}
		}
	}
}

func describe(o *Object) string {
	if o == nil {
		return "nothing"
	}
	s := string(o.Bodies[Intent])
	for _, x := range o.Others {
		if x.Delete {
			s += " | delete"
		} else {
			s += " | " + string(x.Body)
		}
	}
	return s
}

func TestMergeRules(t *testing.T) {
	x := pod("x")
	// A script is a row of "node who verb body" and "mix"; h is a person, m a machine.
	for name, c := range map[string]struct{ script, want string }{
		"same creation, machines":             {"a m put 1, b m put 2, mix", "2"},
		"same creation, alike":                {"a h put 1, b h put 1, mix", "1"},
		"two people create":                   {"a h put 1, b h put 2, mix", "2 | 1"},
		"a person before a newer machine":     {"a m put 0, mix, a h put 1, b m put 2, mix", "1"},
		"two people edit":                     {"a m put 0, mix, a h put 1, b h put 2, mix", "2 | 1"},
		"machine carries the sibling":         {"a h put 1, b h put 2, mix, a m put 3, mix", "3 | 1"},
		"twice, by the sibling's own node":    {"a h put 1, b h put 2, mix, a m put 3, mix, b m put 4, mix, a m put 5, mix", "5 | 1"},
		"sibling came late":                   {"a h put 1, b h put 2, hear b a, b m put 3, hear a b, a m put 4, mix", "4 | 1"},
		"a person settles":                    {"a h put 1, b h put 2, mix, a m put 3, mix, a h put 4, mix", "4"},
		"settled against a machine":           {"a h put 1, b h put 2, mix, a h put 4, b m put 5, mix", "4"},
		"machine over an unseen human edit":   {"a m put 0, mix, a h put 1, hear b a, b h put 2, a m put 3, mix", "2"},
		"unseen edit under a machine":         {"a m put 0, mix, a h put 1, a m put 2, b h put 3, mix", "3 | 2"},
		"machine delete beats machine put":    {"a m put 0, mix, a m delete, b m put 1, mix", "nothing"},
		"human delete beats machine put":      {"a h put 0, mix, a h delete, b m put 1, mix", "nothing"},
		"human edit beats machine delete":     {"a h put 0, mix, b h put 1, a m delete, mix", "1"},
		"human edit beats human delete":       {"a h put 0, mix, b h put 1, a h delete, mix", "1 | delete"},
		"machine on unseen edit beats delete": {"a h put 0, mix, b h put 1, b m put 2, a m delete, mix", "2"},
		"a person confirms the edit":          {"a h put 0, mix, b h put 1, a h delete, mix, a h put 2, mix", "2"},
		"a person confirms the delete":        {"a h put 0, mix, b h put 1, a h delete, mix, a h delete, mix", "nothing"},
		"machine delete leaves the sibling":   {"a h put 1, b h put 2, mix, a m delete, mix", "1 | delete"},
		"human delete takes the siblings":     {"a h put 1, b h put 2, mix, a h delete, mix", "nothing"},
		"recreated":                           {"a h put 1, a h delete, a h put 2, mix", "2"},
		"old life edited, new life made":      {"a h put 1, mix, a h delete, a m put 2, b h put 3, mix", "3 | delete"},
		"both lives by people":                {"a h put 1, mix, b h put 3, a h delete, a h put 2, mix", "2 | 3 | delete"},
		"both lives, settled":                 {"a h put 1, mix, b h put 3, a h delete, a h put 2, mix, b h put 4, mix", "4"},
		"both lives, machine carries":         {"a h put 1, mix, b h put 3, a h delete, a h put 2, mix, b m put 4, mix", "4 | 3 | delete"},
		"hidden life ends with a write":       {"a h put 1, mix, a h delete, a m put 2, b h put 3, mix, a m put 4, mix, a h delete, mix", "nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, "a", "b", "c")
			for _, line := range strings.Split(c.script, ", ") {
				f := strings.Fields(line)
				switch {
				case f[0] == "mix":
					l.mix("a", "b")
				case f[0] == "hear":
					l.hear(f[1], f[2])
				default:
					w := Write{Key: x, Human: f[1] == "h"}
					if w.Op = Delete; f[2] == "put" {
						w.Op, w.Body = Put, []byte(f[3])
					}
					if err := l.do(f[0], w); err != nil {
						t.Fatalf("%s: %v", line, err)
					}
				}
			}
			l.hear("c", "a") // and one who was not there
			for _, n := range []string{"a", "b", "c"} {
				if got := describe(l.object(n, x)); got != c.want {
					t.Errorf("%s shows %s, want %s", n, got, c.want)
				}
			}
		})
	}
}

func TestHeadSticks(t *testing.T) {
	l, x := newLab(t, "a", "b"), pod("x")
	must := func(at string, w Write) {
		t.Helper()
		w.Key = x
		if err := l.do(at, w); err != nil {
			t.Fatal(err)
		}
	}
	must("a", Write{Body: []byte("0")})
	l.mix("a", "b")
	must("a", Write{Body: []byte("1"), Head: Head{DeletionTime: 100, DeletionGrace: 30, Generation: 2, Removed: []string{"f/1"}}})
	must("b", Write{Body: []byte("2"), Head: Head{Generation: 2, Removed: []string{"f/2"}}}) // newer machine: executes
	l.mix("a", "b")
	for _, n := range []string{"a", "b"} {
		h := l.object(n, x).Head
		if h.DeletionTime != 100 || h.DeletionGrace != 30 || h.Generation != 7 || fmt.Sprint(h.Removed) != "[f/1 f/2]" || describe(l.object(n, x)) != "2" {
			t.Fatalf("%s shows %+v", n, h)
		}
	}
	must("b", Write{Body: []byte("3"), Head: Head{Generation: 8, Removed: []string{"f/2"}}}) // f/1 is put back, deletion stays
	l.mix("a", "b")
	h := l.object("a", x).Head
	if h.DeletionTime != 100 || h.DeletionGrace != 30 || h.Generation != 8 || fmt.Sprint(h.Removed) != "[f/2]" {
		t.Fatalf("%+v", h)
	}
	must("b", Write{Body: []byte("3"), Head: Head{DeletionTime: 120, DeletionGrace: 0, Generation: 8, Removed: []string{"f/2"}}})
	if h := l.object("b", x).Head; h.DeletionTime != 100 || h.DeletionGrace != 0 {
		t.Fatalf("the earliest deletion and the smallest grace: %+v", h)
	}
}

func TestPartsFollowTheirLife(t *testing.T) {
	l, x := newLab(t, "a", "b"), pod("x")
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(l.do("a", Write{Key: x, Body: []byte("1")}))
	check(l.do("a", Write{Key: x, Part: Status, Body: []byte("s")}))
	var status, intent *Record
	l.cores["a"].set.all(func(r *Record) bool {
		if r.Part == Status {
			status = r
		} else {
			intent = r
		}
		return true
	})
	l.cores["b"].Step(l.now, event{receive: []*Record{status}})
	if l.object("b", x) != nil || l.cores["b"].set.size() != 0 {
		t.Fatal("a status without its intent shows")
	}
	l.cores["b"].Step(l.now, event{receive: []*Record{intent}})
	if o := l.object("b", x); o == nil || string(o.Bodies[Status]) != "s" {
		t.Fatalf("held status was not applied: %+v", o)
	}
	check(l.do("b", Write{Key: x, Op: Delete}))
	l.hear("a", "b")
	if l.cores["a"].set.size() != 1 {
		t.Fatal("the status outlived its object")
	}
	l.cores["b"].Step(l.now, event{receive: []*Record{status}})
	if l.cores["b"].set.size() != 1 {
		t.Fatal("a late status came back")
	}
}

// TestStatusComesBeforeRevival: a status is older than the edit that revives its object, so a reconciliation brings it first.
func TestStatusComesBeforeRevival(t *testing.T) {
	l, x := newLab(t, "a", "b"), pod("x")
	must := func(n string, w Write) {
		t.Helper()
		w.Key = x
		if err := l.do(n, w); err != nil {
			t.Fatal(err)
		}
	}
	must("a", Write{Body: []byte("1")})
	l.mix("a", "b")
	must("b", Write{Op: Delete})
	must("a", Write{Part: Status, Body: []byte("s")})
	must("a", Write{Body: []byte("2"), Human: true})
	l.cores["a"].set.all(func(r *Record) bool {
		l.cores["b"].Step(l.now, event{receive: []*Record{r}})
		return true
	})
	if o := l.object("b", x); o == nil || string(o.Bodies[Intent]) != "2" || string(o.Bodies[Status]) != "s" {
		t.Fatalf("revived: %s", describe(o))
	}
}

func TestFutureIsHeld(t *testing.T) {
	l, x := newLab(t, "a", "b"), pod("x")
	l.now = l.now.Add(time.Hour)
	if err := l.do("a", Write{Key: x, Body: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	l.now = l.now.Add(-time.Hour)
	l.hear("b", "a")
	if l.object("b", x) != nil || l.cores["b"].clock.last > stampOf(l.now) {
		t.Fatal("a record from the future was merged")
	}
	l.now = l.now.Add(time.Hour)
	l.cores["b"].Step(l.now, event{tick: true})
	if l.object("b", x) == nil {
		t.Fatal("a due record was not merged")
	}
}

// TestUnknownOldLife: a node that knows nothing of an old life but an edit dated next year must not tell a horizon behind its birth.
func TestUnknownOldLife(t *testing.T) {
	l, x := newLab(t, "a", "b"), pod("x")
	year, b := 365*24*time.Hour, l.cores["b"]
	if err := l.do("a", Write{Key: x, Body: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	l.now = l.now.Add(year)
	if err := l.do("a", Write{Key: x, Body: []byte("2"), Human: true}); err != nil {
		t.Fatal(err)
	}
	l.now = l.now.Add(2*time.Hour - year)
	met := event{met: &meeting{peer: hello{horizons: []horizonOf{{x.Kind, stampOf(l.now.Add(-time.Hour))}}}}}
	l.hear("b", "a")
	b.Step(l.now, met)
	if len(b.horizon) > 0 {
		t.Fatal("a horizon was taken over")
	}
	l.cores["a"].Step(l.now, event{tick: true}) // writes it anew
	l.hear("b", "a")
	b.Step(l.now, met)
	if o := l.object("b", x); len(b.horizon) == 0 || b.early.size() > 0 || o == nil || string(o.Bodies[Intent]) != "2" {
		t.Fatalf("horizons %v, %d early, shown: %s", b.horizon, b.early.size(), describe(o))
	}
}

// TestMemoryOnlyObjectsOfNextYear: what a node dated next year and keeps in memory alone must not stand against what it writes when its
// clock is right again, nor keep a peer from a horizon.
func TestMemoryOnlyObjectsOfNextYear(t *testing.T) {
	l := newLab(t, "a", "b")
	a, b, right := l.cores["a"], l.cores["b"], l.now
	event1, slice := Key{"core/events", "default", "e"}, Key{"derived/slices", "default", "s"}
	l.now = right.AddDate(1, 0, 0)
	for _, k := range []Key{event1, slice} {
		_ = l.do("a", Write{Key: k, Body: []byte("1")})
	}
	_ = l.do("a", Write{Key: slice, Part: Status, Body: []byte("old")})
	ahead := again(t, a.known(event1).lives[0].versions[0])
	l.now = right
	a.Step(l.now, event{tick: true})
	for _, k := range []Key{event1, slice} {
		_ = l.do("a", Write{Key: k, Body: []byte("2")})
		if got := l.object("a", k); got == nil || string(got.Bodies[Intent]) != "2" {
			t.Errorf("%s after the clock was set right: %s", k, describe(got))
		}
	}
	_ = l.do("a", Write{Key: slice, Part: Status, Body: []byte("new")})
	if o := l.object("a", slice); string(o.Bodies[Status]) != "new" {
		t.Errorf("the status is %q", o.Bodies[Status])
	}
	if early(l.now, a.clock.last) {
		t.Error("the clock is next year's again")
	}
	_ = l.do("a", Write{Key: slice, Op: Delete})
	if o := l.object("a", slice); o != nil {
		t.Errorf("deleted, and shown: %s", describe(o))
	}
	b.Step(l.now, event{receive: []*Record{ahead}})
	b.Step(l.now, event{met: &meeting{peer: hello{horizons: []horizonOf{{"core/pods", stampOf(l.now.Add(-time.Hour))}}}}})
	if b.early.size() > 0 || len(b.horizon) == 0 {
		t.Errorf("b keeps %d events of next year, horizons %v", b.early.size(), b.horizon)
	}
}

func TestPurgeAndHorizon(t *testing.T) {
	l, x := newLab(t, "a", "b"), pod("x")
	old := func() []*Record {
		var recs []*Record
		l.cores["a"].set.all(func(r *Record) bool { recs = append(recs, r); return true })
		return recs
	}
	_ = l.do("a", Write{Key: x, Body: []byte("1")})
	stale := old()
	_ = l.do("a", Write{Key: x, Op: Delete})
	l.hear("b", "a")
	l.cores["a"].cfg.Members = func() []string { return []string{"a", "b"} }
	step := func(n string, ev event) (lost int) {
		for _, e := range l.cores[n].Step(l.now, ev) {
			if e.lose != nil {
				lost++
			}
		}
		return lost
	}
	step("a", event{tick: true})
	l.now = l.now.Add(2 * time.Hour)
	step("a", event{tick: true})
	if l.cores["a"].set.size() != 1 {
		t.Fatal("purged although a member lacks it")
	}
	seen := stampOf(l.now)
	step("a", event{met: &meeting{peer: hello{heard: []markOf{{"b", seen}}, holds: []markOf{{"b", seen}}}}})
	l.now = l.now.Add(2 * time.Hour)
	step("a", event{tick: true})
	if l.cores["a"].set.size() != 0 {
		t.Fatal("not purged")
	}
	if lost := step("a", event{receive: stale}); lost != 1 || l.object("a", x) != nil {
		t.Fatalf("a record from before the horizon: %d lost, shows %s", lost, describe(l.object("a", x)))
	}
	step("b", event{met: &meeting{peer: *l.cores["a"].hello()}})
	if l.cores["b"].set.size() != 0 {
		t.Fatal("the peer's horizon was not adopted")
	}
}

// TestWhoLetsGoOfALifeTellsNoHorizon: two clocks were a year ahead, and a holds an object in a version of that year alone, which
// b will write anew. Until then a must not say that it holds everything from before its horizon.
func TestWhoLetsGoOfALifeTellsNoHorizon(t *testing.T) {
	l := newLab(t, "a", "b")
	a, b, x := l.cores["a"], l.cores["b"], pod("x")
	_ = l.do("b", Write{Key: x, Body: []byte("1")})
	l.hear("a", "b")
	right := l.now
	for _, c := range l.cores {
		c.raise(x.Kind, stampOf(right.Add(time.Hour)))
	}
	l.now = right.AddDate(1, 0, 0)
	_ = l.do("b", Write{Key: x, Body: []byte("2")})
	l.hear("a", "b")
	l.now = right.Add(2 * time.Hour)
	a.Step(l.now, event{tick: true})
	if h := a.hello(); l.object("a", x) != nil || h.horizons[0].at >= stampOf(right) || !h.forgetful {
		t.Fatalf("a shows %s and says %+v", describe(l.object("a", x)), h)
	}
	b.Step(l.now, event{tick: true})
	l.hear("a", "b")
	if got := describe(l.object("a", x)); got != "2" {
		t.Fatalf("a shows %s", got)
	}
}

// TestAWriteOverOneInDoubtCounts: the home accepted a's first write and a does not know it; who saw both sees two generations.
func TestAWriteOverOneInDoubtCounts(t *testing.T) {
	l := newLab(t, "a", "b")
	a, x := l.cores["a"], pod("x")
	_ = l.do("a", Write{Key: x, Body: []byte("1")})
	l.hear("b", "a")
	seen := l.object("a", x)
	lost := &Record{Key: x, Root: x, Body: []byte("doubtful")}
	a.stamp(l.now, a.known(x), lost)
	life := a.known(x).living()[0]
	a.follow(lost, life, &Write{Key: x, Head: Head{Generation: seen.Head.Generation + 1, Removed: []string{"f"}}})
	if err := lost.seal(nil); err != nil {
		t.Fatal(err)
	}
	a.doubt([]*Record{lost})
	_ = l.do("b", Write{Key: x, Body: []byte("2")})
	l.hear("a", "b")
	l.cores["b"].Step(l.now, event{receive: []*Record{again(t, lost)}})
	before := l.object("b", x)
	_ = l.do("a", Write{Key: x, Body: []byte("3")})
	if len(life.doubt) != 0 {
		t.Fatal("what was covered is in doubt still")
	}
	l.hear("b", "a")
	if now := l.object("b", x); now.Head.Generation <= before.Head.Generation || len(now.Head.Removed) != 1 {
		t.Fatalf("%+v, then %+v", before.Head, now.Head)
	}
}

// TestMergeConverges draws random histories on three replicas with random delivery: whatever the order and repetition,
// replicas that met the same records hold the same records and show the same; and no person's edit is lost.
func TestMergeConverges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		names := []string{"a", "b", "c"}
		l := newLab(t, names...)
		keys := []Key{pod("x"), pod("y")}
		edits := map[string]*Record{} // body -> a person's edit
		var all []*Record
		finalizers := []string{"f", "g"}
		deleting := map[string]bool{} // UIDs
		truth := truth{}
		for i := range rapid.IntRange(5, 60).Draw(rt, "steps") {
			at := rapid.SampledFrom(names).Draw(rt, "at")
			if rapid.IntRange(0, 2).Draw(rt, "hear") == 0 {
				hearSome(l, rt, at, rapid.SampledFrom(names).Draw(rt, "from"))
				continue
			}
			w := Write{Key: rapid.SampledFrom(keys).Draw(rt, "key"), Human: rapid.Bool().Draw(rt, "human")}
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0, 1:
				w.Op = Delete
			case 2:
				w.Part, w.Body = Status, fmt.Append(nil, "s", i)
			case 3:
				w.Body, w.Head.DeletionTime = fmt.Append(nil, "deleting ", i), 1+rapid.Int64Range(0, 9).Draw(rt, "when")
			case 4:
				w.Body, w.Head.Removed = fmt.Append(nil, "removed ", i), []string{rapid.SampledFrom(finalizers).Draw(rt, "f")}
			default:
				w.Body = fmt.Append(nil, i)
			}
			before := truth.before(l.cores[at], w)
			if l.do(at, w) != nil {
				continue
			}
			if o := l.object(at, w.Key); o != nil && w.Head.DeletionTime > 0 {
				deleting[o.UID] = true
			}
			l.cores[at].set.all(func(r *Record) bool {
				if r.Dot.Actor == at && r.Stamp >= stampOf(l.now) {
					all = append(all, r)
					truth.after(before, r)
					if r.Human && r.Op == Put {
						edits[string(r.Body)] = r
					}
				}
				return true
			})
		}
		l.mix(names...)
		sameEverywhere(rt, l, names, keys)
		noEditLost(rt, l, keys, edits)
		truth.check(rt, all)
		for _, k := range keys {
			if o := l.object("a", k); o != nil && deleting[o.UID] && o.Head.DeletionTime == 0 {
				rt.Fatalf("the deletion of %s was forgotten", k)
			}
		}
		// A newcomer that hears everything ever written, in any order and twice, agrees.
		fresh := newLab(t, "d")
		l.cores["d"] = fresh.cores["d"]
		for range 2 {
			for _, i := range rapid.Permutation(indices(all)).Draw(rt, "order") {
				l.cores["d"].Step(l.now, event{receive: []*Record{all[i]}})
			}
		}
		l.mix("a", "d")
		sameEverywhere(rt, l, []string{"a", "d"}, keys)
	})
}

func indices(recs []*Record) []int {
	out := make([]int, len(recs))
	for i := range out {
		out[i] = i
	}
	return out
}

func hearSome(l *lab, rt *rapid.T, to, from string) {
	var recs []*Record
	l.cores[from].set.all(func(r *Record) bool { recs = append(recs, r); return true })
	for _, r := range recs {
		if rapid.Bool().Draw(rt, "arrives") {
			l.cores[to].Step(l.now, event{receive: []*Record{r}})
		}
	}
}

func sameEverywhere(rt *rapid.T, l *lab, names []string, keys []Key) {
	first := l.cores[names[0]]
	for _, n := range names[1:] {
		c := l.cores[n]
		if c.set.total() != first.set.total() {
			rt.Fatalf("%s holds %d records, %s holds %d others\n%s\n%s", n, c.set.size(), names[0], first.set.size(), dump(c), dump(first))
		}
		for _, k := range keys {
			a, b := l.object(names[0], k), l.object(n, k)
			if describe(a) != describe(b) || a != nil && fmt.Sprint(a.Head, a.UID, a.Author) != fmt.Sprint(b.Head, b.UID, b.Author) {
				rt.Fatalf("%s: %s shows %s, %s shows %s", k, names[0], describe(a), n, describe(b))
			}
		}
	}
}

func dump(c *core) string {
	var b strings.Builder
	c.set.all(func(r *Record) bool {
		fmt.Fprintf(&b, "  %v %v part %d op %v human %v %q %v\n", r.Dot, r.UID, r.Part, r.Op, r.Human, r.Body, r.context)
		return true
	})
	return b.String()
}

// noEditLost: a person's edit is shown, or a sibling, or some version that is still there answers for it.
func noEditLost(rt *rapid.T, l *lab, keys []Key, edits map[string]*Record) {
	shown := map[string]bool{}
	var there []*Record
	for _, k := range keys {
		if o := l.object("a", k); o != nil {
			shown[string(o.Bodies[Intent])] = true
			for _, s := range o.Others {
				shown[string(s.Body)] = true
			}
		}
		if e := l.cores["a"].known(k); e != nil {
			for _, life := range e.lives {
				there = append(there, life.unsettled()...)
			}
		}
	}
	for body, e := range edits {
		answered := shown[body]
		for _, r := range there {
			answered = answered || r.UID == e.UID && r.hash != e.hash && r.after().of(e.Dot.Actor).human >= e.Dot.N
		}
		if !answered {
			rt.Fatalf("a person's edit %q was lost\n%s", body, dump(l.cores["a"]))
		}
	}
}

// truth keeps, beside the vectors, the exact set of human edits that every record answers for.
type truth map[hash]map[Dot]bool

// before collects, per life, what a write on the node's present view answers for.
func (tr truth) before(c *core, w Write) map[UID]map[Dot]bool {
	out := map[UID]map[Dot]bool{}
	e := c.known(w.Key)
	if e == nil {
		return out
	}
	for _, l := range e.living() {
		out[l.uid] = map[Dot]bool{}
		for _, v := range l.versions {
			if w.Human || v == l.alive() || v.same(l.alive()) && v.Op == Put {
				for d := range tr[v.hash] {
					out[l.uid][d] = true
				}
			}
		}
	}
	return out
}

func (tr truth) after(before map[UID]map[Dot]bool, r *Record) {
	if r.Part != Intent || tr[r.hash] != nil {
		return
	}
	mine := map[Dot]bool{}
	for d := range before[r.UID] {
		mine[d] = true
	}
	if r.Human {
		mine[r.Dot] = true
	}
	tr[r.hash] = mine
}

// check: the vectors describe these sets exactly.
func (tr truth) check(rt *rapid.T, all []*Record) {
	for _, r := range all {
		for _, e := range all {
			if !e.Human || e.UID != r.UID || r.Part != Intent {
				continue
			}
			if says := r.after().of(e.Dot.Actor).human >= e.Dot.N; says != tr[r.hash][e.Dot] {
				rt.Fatalf("%v says that it answers for %v: %v", r.Dot, e.Dot, says)
			}
		}
	}
}

// A home that finds a creation too early has merged the tombstones on which it relies, and shows what they ended at once.
func TestATombstoneShowsWhereItsCreationIsTooEarly(t *testing.T) {
	l := newLab(t, "a", "b")
	x := pod("x")
	for _, w := range []Write{{Key: x, Human: true, Body: []byte("1")}, {Key: x, Human: true, Op: Delete}} {
		if err := l.do("a", w); err != nil {
			t.Fatal(err)
		}
		if w.Op == Put {
			l.hear("b", "a")
		}
	}
	var dead []*Record
	l.cores["a"].set.all(func(r *Record) bool { dead = append(dead, again(t, r)); return true })
	hour := l.now.Add(time.Hour)
	r := &Record{Key: x, Root: x, Human: true, UID: newUID(x, nil, []byte("again")), Dot: Dot{"a", 9}, Stamp: stampOf(hour), Body: []byte("2")}
	if err := r.seal(func([]byte) ([]byte, error) { return []byte("signature"), nil }); err != nil {
		t.Fatal(err)
	}
	ended, refused := false, false
	for _, e := range l.cores["b"].Step(l.now, event{id: 7, judge: []*Record{again(t, r)}, relied: dead}) {
		ended = ended || e.show != nil && e.show.key == x && e.show.row == nil && !e.show.only
		refused = refused || e.answer != nil && errors.Is(e.answer.err, errNotMine)
	}
	if !refused || !ended || l.object("b", x) != nil {
		t.Errorf("refused %v, shown as ended %v, there is %s", refused, ended, describe(l.object("b", x)))
	}
}
