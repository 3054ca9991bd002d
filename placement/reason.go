package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// The words of kube-scheduler v1.36 (pkg/scheduler/framework/plugins), so that tools that read its events read ours.
const (
	reasonCordoned = "node(s) were unschedulable"
	reasonTaint    = "node(s) had untolerated taint(s)"
	reasonAffinity = "node(s) didn't match Pod's node affinity/selector"
	reasonPorts    = "node(s) didn't have free ports for the requested pod ports"
	reasonPods     = "Too many pods"
	reasonLack     = "Insufficient "
	reasonVolume   = "node(s) didn't match PersistentVolume's node affinity"
	reasonSpread   = "node(s) didn't match pod topology spread constraints"
	missingLabel   = " (missing required label)"
	reasonNear     = "node(s) didn't match pod affinity rules"
	reasonApart    = "node(s) didn't match pod anti-affinity rules"
	reasonExisting = "node(s) didn't satisfy existing pods anti-affinity rules"
)

// Reasons that kube-scheduler does not know.
const (
	reasonNotReady = "node(s) were not ready: "
	reasonInvalid  = "the pod cannot be placed: "
)

// String is kube-scheduler's message of a FailedScheduling event.
func (p Pending) String() string {
	if p.Hosts == 0 && len(p.Reasons) == 0 {
		return "no nodes available to schedule pods"
	}
	var texts []string
	for _, r := range p.Reasons {
		if r.Hosts == 0 {
			return r.Text
		}
		texts = append(texts, fmt.Sprintf("%d %s", r.Hosts, r.Text))
	}
	slices.Sort(texts)
	return fmt.Sprintf("0/%d nodes are available: %s.", p.Hosts, strings.Join(texts, ", "))
}

// refusal is why a host cannot take a pod.
type refusal uint8

const (
	fine refusal = iota
	nobody
	notReady
	cordoned
	tainted
	unchosen
	noPort
	lacking
	noVolume
	noSpreadLabel
	uneven
	noCompany
	notApart
	keptApart
	refusals
)

var texts = [refusals]string{
	cordoned: reasonCordoned, tainted: reasonTaint, unchosen: reasonAffinity, noPort: reasonPorts, noVolume: reasonVolume,
	noSpreadLabel: reasonSpread + missingLabel, uneven: reasonSpread, noCompany: reasonNear, notApart: reasonApart, keptApart: reasonExisting,
}

// refuses is the first cause why host h cannot take the shape, in kube-scheduler's order of plugins.
func (w *world) refuses(s *shape, h int32) refusal {
	if why := w.refusesNode(s.static, h); why != fine {
		return why
	}
	if !w.open(s.spec, h) {
		return noPort
	}
	if !w.fits(s.spec, h) {
		return lacking
	}
	if !w.holds(s.static, h) {
		return noVolume
	}
	return w.refusesTopology(s, h)
}

// explain counts what every host says.
func (w *world) explain(s *shape) Pending {
	var counts [refusals]int
	var named tally
	for h := range w.id {
		why := w.refuses(s, int32(h))
		counts[why]++
		switch why {
		case notReady:
			named.add(reasonNotReady+w.barred[h], 1)
		case lacking:
			w.lacks(s.spec, int32(h), func(resource string, _ int64) { named.add(lack(resource), 1) })
		}
	}
	for why, n := range counts {
		if texts[why] != "" && n > 0 {
			named.add(texts[why], n)
		}
	}
	slices.SortFunc(named, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(b.Hosts, a.Hosts), cmp.Compare(a.Text, b.Text))
	})
	return Pending{Hosts: w.present, Reasons: named}
}

type tally []Reason

func (t *tally) add(text string, n int) {
	for i := range *t {
		if (*t)[i].Text == text {
			(*t)[i].Hosts += n
			return
		}
	}
	*t = append(*t, Reason{text, n})
}

func lack(resource string) string {
	if resource == "pods" {
		return reasonPods
	}
	return reasonLack + resource
}

// lacks calls f for each resource of which host h has too little, with what is missing.
func (w *world) lacks(s *spec, h int32, f func(resource string, missing int64)) {
	free := &w.free[h]
	for _, x := range [...]struct {
		name       string
		need, free int64
		want       int64
	}{{"pods", s.need.pods, free.pods, s.pods}, {"cpu", s.need.cpu, free.cpu, s.cpu}, {"memory", s.need.memory, free.memory, s.memory},
		{"ephemeral-storage", s.need.disk, free.disk, s.disk}} {
		if x.need > x.free {
			f(x.name, x.want-x.free)
		}
	}
	for _, e := range s.extended {
		if have := w.extra[e.index][h]; e.value > 0 && e.value > have {
			f(e.name, e.value-have)
		}
	}
}
