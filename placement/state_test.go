package placement

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// memory is the plain memory of a history: what a State must know, kept without it.
type memory struct {
	hosts   map[string]Host
	pods    map[string]Pod
	budgets map[string]Budget
}

func newMemory() *memory {
	return &memory{map[string]Host{}, map[string]Pod{}, map[string]Budget{}}
}

func (m *memory) apply(d Delta) {
	for _, x := range d.GoneHosts {
		delete(m.hosts, x)
	}
	for _, x := range d.GonePods {
		delete(m.pods, x)
	}
	for _, x := range d.GoneBudgets {
		delete(m.budgets, x)
	}
	for _, x := range d.Hosts {
		m.hosts[x.ID] = x
	}
	for _, x := range d.Pods {
		m.pods[x.UID] = x
	}
	for _, x := range d.Budgets {
		m.budgets[x.ID] = x
	}
}

func (m *memory) view() View {
	return View{
		Hosts:   slices.SortedFunc(maps.Values(m.hosts), func(a, b Host) int { return cmp.Compare(a.ID, b.ID) }),
		Pods:    slices.SortedFunc(maps.Values(m.pods), func(a, b Pod) int { return cmp.Compare(a.UID, b.UID) }),
		Budgets: slices.SortedFunc(maps.Values(m.budgets), func(a, b Budget) int { return cmp.Compare(a.ID, b.ID) }),
	}
}

func drawBudget(t *rapid.T, i int) Budget {
	return Budget{ID: fmt.Sprint("b", i), Namespace: rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "namespace"), Match: drawMatch(t, 1), Allowed: rapid.Int64Range(0, 2).Draw(t, "allowed")}
}

func drawDelta(t *rapid.T, m *memory) (d Delta) {
	odds := func(n int, what string) bool { return rapid.IntRange(0, n).Draw(t, what) == n }
	for i := range 7 {
		if odds(4, "host") {
			d.Hosts = append(d.Hosts, drawHost(t, i))
		}
		if odds(9, "gone host") {
			d.GoneHosts = append(d.GoneHosts, fmt.Sprintf("id-%d", i))
		}
	}
	for i := range 24 {
		if odds(5, "pod") {
			d.Pods = append(d.Pods, drawPod(t, i))
		}
		uid := fmt.Sprintf("uid-%d", i)
		if p, had := m.pods[uid]; had && odds(9, "other claim") && !slices.ContainsFunc(d.Pods, func(q Pod) bool { return q.UID == uid }) {
			p.Host = rapid.SampledFrom([]string{"", "", "id-1", p.Host}).Draw(t, "claim")
			d.Pods = append(d.Pods, p)
		}
		if odds(9, "gone pod") {
			d.GonePods = append(d.GonePods, uid)
		}
	}
	for i := range 2 {
		if odds(3, "budget") {
			d.Budgets = append(d.Budgets, drawBudget(t, i))
		}
		if odds(5, "gone budget") {
			d.GoneBudgets = append(d.GoneBudgets, fmt.Sprint("b", i))
		}
	}
	return d
}

// A State that lived through a history gives the Plan that Place gives for what there is, byte for byte.
func TestApplyIsPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawBoldOptions(t)
		s, m := NewState(o), newMemory()
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			d := drawDelta(t, m)
			m.apply(d)
			v := m.view()
			want, got := Place(v, o), s.Apply(d)
			if a, b := spell(want), spell(got); a != b {
				t.Fatalf("Place:\n%s\nApply:\n%s", a, b)
			}
			v = carryOut(v, got)
			for _, p := range v.Pods {
				m.pods[p.UID] = p
			}
			a, b := sorted(v), sorted(s.View())
			for i := range min(len(a.Pods), len(b.Pods)) {
				if x, y := fmt.Sprintf("%+v", a.Pods[i]), fmt.Sprintf("%+v", b.Pods[i]); x != y {
					t.Fatalf("pods differ:\n%s\n%s\n%s", x, y, spell(got))
				}
			}
			if x, y := fmt.Sprintf("%+v", a), fmt.Sprintf("%+v", b); x != y {
				t.Fatalf("views differ:\n%s\n%s", x, y)
			}
		}
	})
}

// sorted spells labels in one order and nothing as nothing, so that views can be compared as text.
func sorted(v View) View {
	v.Pods = slices.Clone(v.Pods)
	for i := range v.Pods {
		v.Pods[i].Labels = slices.SortedFunc(slices.Values(v.Pods[i].Labels), func(a, b Label) int { return cmp.Compare(a.Key, b.Key) })
	}
	return v
}

// A State whose past is mostly gone is built anew, and decides as before.
func TestStateForgets(t *testing.T) {
	v := View{Hosts: hostsOf(5, 64000, 256)}
	for i := range 1500 {
		v.Pods = append(v.Pods, podsOf(1, fmt.Sprint("app-", i), func(p *Pod) {
			p.AntiAffinity = []PodTerm{{Topology: "kubernetes.io/hostname", Match: app(p.Owner)}}
		})...)
	}
	s := NewState(Options{})
	kept := carryOut(v, s.Apply(Delta{Hosts: v.Hosts, Pods: v.Pods}))
	var gone []string
	for _, p := range v.Pods[40:] {
		gone = append(gone, p.UID)
	}
	kept.Pods = kept.Pods[:40]
	kept = carryOut(kept, s.Apply(Delta{GonePods: gone}))
	if !s.w.littered() {
		t.Fatalf("%d specs for %d pods are not too many?", s.w.specCount, len(kept.Pods))
	}
	before := s.w
	kept.Pods = append(kept.Pods, podsOf(20, "fresh", nil)...)
	got, want := s.Apply(Delta{Pods: kept.Pods[40:]}), Place(kept, Options{})
	if a, b := spell(want), spell(got); a != b {
		t.Errorf("Place:\n%s\nApply:\n%s", a, b)
	}
	if s.w == before || s.w.specCount > 100 {
		t.Errorf("%d specs are kept for %d pods", s.w.specCount, len(kept.Pods))
	}
}

// A large View in another order, with many claims of many owners, gives the same bytes: what is counted does not depend
// on the order in which tables grew.
func TestOrderDoesNotMatterAtLarge(t *testing.T) {
	v := mixed(2, 300, 6000)
	v = carryOut(v, Place(v, Options{}))
	for i := range v.Pods {
		if i%3 == 0 {
			v.Pods[i].Host = ""
		}
	}
	want := spell(Place(v, Options{}))
	slices.Reverse(v.Pods)
	slices.Reverse(v.Hosts)
	if got := spell(Place(v, Options{})); got != want {
		t.Error("the reversed View has another Plan")
	}
	s := NewState(Options{})
	half := len(v.Pods) / 2
	taken := slices.Clone(v.Pods[:half])
	for i := range taken {
		if taken[i].Host == "" {
			taken[i].Gated = true
		}
	}
	s.Apply(Delta{Hosts: v.Hosts, Pods: taken, Budgets: v.Budgets})
	if got := spell(s.Apply(Delta{Pods: v.Pods})); got != want {
		t.Error("a State that learned it in two parts has another Plan")
	}
}
