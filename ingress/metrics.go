package ingress

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// Snapshot is what the proxy has counted since it was made. Counts of rules that the present table lacks are gone.
type Snapshot struct {
	Requests   uint64 // answered or aborted, upgrades included
	Active     int64  // being served now, upgrades included
	Unmatched  uint64 // no rule: 404
	Retries    uint64 // attempts after the first
	Ejections  uint64 // endpoints left out for a while after a failed connect
	AccessLost uint64 // access log lines dropped because the writer was too slow
	Rules      []RuleCount
}

// RuleCount is of one rule. A request is in exactly one class.
type RuleCount struct {
	Rule, Host, Path string
	Match            Match
	Backend          string
	Requests         uint64
	Classes          [6]uint64 // by first digit of the status; 0: the client went away
	NoEndpoint       uint64    // 503 of ours
	Unreachable      uint64    // 502 of ours
	TimedOut         uint64    // 504 of ours
}

type ruleKey struct {
	name, host, path string
	match            Match
}

func (r *Route) key() ruleKey { return ruleKey{r.Rule.Name, r.Rule.Host, r.Rule.Path, r.Rule.Match} }

type counts struct {
	requests, noEndpoint, unreachable, timedOut atomic.Uint64
	classes                                     [6]atomic.Uint64
}

type totals struct {
	requests, unmatched, retries, ejections, accessLost atomic.Uint64
	active                                              atomic.Int64
}

func (c *counts) done(status int) {
	c.requests.Add(1)
	class := status / 100
	if class > 5 || status == statusGone {
		class = 0
	}
	c.classes[class].Add(1)
}

// Snapshot returns the counts, rules sorted by host, path and name. Safe at any time.
func (p *Proxy) Snapshot() Snapshot {
	t := &p.totals
	s := Snapshot{Requests: t.requests.Load(), Active: t.active.Load(), Unmatched: t.unmatched.Load(), Retries: t.retries.Load(),
		Ejections: t.ejections.Load(), AccessLost: t.accessLost.Load()}
	pic := p.live.Load()
	if pic == nil {
		return s
	}
	for i, r := range pic.table.routes {
		c := pic.counts[i]
		rc := RuleCount{Rule: r.Rule.Name, Host: r.Rule.Host, Path: r.Rule.Path, Match: r.Rule.Match, Backend: r.Rule.Backend.Name,
			Requests: c.requests.Load(), NoEndpoint: c.noEndpoint.Load(), Unreachable: c.unreachable.Load(), TimedOut: c.timedOut.Load()}
		for j := range rc.Classes {
			rc.Classes[j] = c.classes[j].Load()
		}
		s.Rules = append(s.Rules, rc)
	}
	slices.SortFunc(s.Rules, func(a, b RuleCount) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Match, b.Match))
	})
	return s
}
