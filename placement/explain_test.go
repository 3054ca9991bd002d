package placement

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// lift makes the changes of a remedy to a View: the pod then must fit on that host.
func lift(v View, uid string, r Remedy) View {
	v.Hosts, v.Pods = slices.Clone(v.Hosts), slices.Clone(v.Pods)
	h := &v.Hosts[slices.IndexFunc(v.Hosts, func(h Host) bool { return h.ID == r.Host })]
	p := &v.Pods[slices.IndexFunc(v.Pods, func(p Pod) bool { return p.UID == uid })]
	for _, c := range r.Changes {
		switch c.Kind {
		case Ready:
			h.NotReady = ""
		case Uncordon:
			h.Cordoned = false
		case Tolerate:
			h.Taints = slices.DeleteFunc(slices.Clone(h.Taints), func(t Taint) bool { return t.String() == c.What })
		case Affinity:
			p.Selector, p.Required = nil, nil
		case Port:
			p.Ports = slices.DeleteFunc(slices.Clone(p.Ports), func(x HostPort) bool { return fmt.Sprintf("%s %d", x.protocol(), x.Port) == c.What })
		case Resource:
			switch c.What {
			case "cpu":
				h.Allocatable.CPU += c.Amount
			case "memory":
				h.Allocatable.Memory += c.Amount
			case "ephemeral-storage":
				h.Allocatable.Disk += c.Amount
			case "pods":
				h.Allocatable.Pods += c.Amount
			default:
				p.Requests.Extended = nil
			}
		case Volume:
			p.Hosts = nil
		case SpreadLabel, SpreadEven:
			p.Spread = nil
		case Company:
			p.Affinity = nil
		case Apart:
			p.AntiAffinity = nil
		case KeptApart:
			for i := range v.Pods {
				if v.Pods[i].UID != uid {
					v.Pods[i].AntiAffinity = nil
				}
			}
		}
	}
	return v
}

// Reasons are true: a pod that fits nowhere fits as soon as what one remedy says is so, and an explanation agrees with
// the Plan and with the slow judge about every host.
func TestReasonsAreTrue(t *testing.T) {
	lifted := map[ChangeKind]int{}
	rapid.Check(t, func(t *rapid.T) {
		v, o := drawView(t), drawOptions(t)
		v = carryOut(v, Place(v, o))
		for i, p := range v.Pods {
			if p.Leaving || p.Host != "" && i%6 != 0 {
				continue
			}
			e := Explain(v, p.UID, o)
			j := newJudge(v)
			me := j.pod(p.UID)
			me.Host = ""
			for _, r := range e.Refusals {
				if why := j.refuses(me, j.host(r.Host)); !slices.Equal(slices.Sorted(slices.Values(why)), slices.Sorted(slices.Values(r.Reasons))) {
					t.Fatalf("%s on %s: %v, the judge says %v", p.UID, r.Host, r.Reasons, why)
				}
			}
			if len(e.Refusals)+e.Fits != len(v.Hosts) || e.Hosts != len(v.Hosts) || p.Host == "" && !p.Gated && (e.Fits > 0) != (e.Host != "") {
				t.Fatalf("%d hosts: %+v", len(v.Hosts), e)
			}
			for n, c := range e.Candidates {
				if c.Last != j.host(c.Host).LastResort || n > 0 && e.Candidates[n-1].Last && !c.Last {
					t.Fatalf("candidates %+v", e.Candidates)
				}
				var sum int64
				for _, x := range c.Parts {
					sum += x.Score
				}
				if sum != c.Score || j.refuses(me, j.host(c.Host)) != nil {
					t.Fatalf("candidate %+v", c)
				}
			}
			for _, r := range e.Remedies {
				for _, c := range r.Changes {
					lifted[c.Kind]++
				}
				if len(p.Spread) > 0 && slices.ContainsFunc(r.Changes, func(c Change) bool { return c.Kind <= Affinity }) {
					continue // that also changes which hosts count for the spread
				}
				u := lift(v, p.UID, r)
				if after := Explain(u, p.UID, o); slices.ContainsFunc(after.Refusals, func(x Refusal) bool { return x.Host == r.Host }) {
					t.Fatalf("%s should fit on %s after %+v: %+v", p.UID, r.Host, r.Changes, after)
				}
			}
		}
	})
	for k := range KeptApart + 1 {
		if lifted[k] == 0 {
			t.Errorf("no remedy ever said %s", k)
		}
	}
}
