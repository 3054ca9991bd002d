package placement

import (
	"cmp"
	"slices"
	"time"
)

// Brake slows down the replacing of pods when much of a failure domain is lost at once: that is more often a broken
// network or a wrong view than the end of many machines, and what remains must not be buried under everything that was
// lost. It never stops: a side that is cut off must serve too.
type Brake struct {
	Share  int64         // per cent of a domain's hosts; from there on it is a storm
	Least  int           // hosts lost below which it is never a storm
	Window time.Duration // losses this far apart belong to one storm
	Burst  int           // hosts of a domain whose pods are replaced at once in a storm
	Every  time.Duration // then one more host
}

// DefaultBrake lets two hosts of a storm go at once and one more every five seconds.
func DefaultBrake() Brake {
	return Brake{Share: 50, Least: 3, Window: 10 * time.Second, Burst: 2, Every: 5 * time.Second}
}

// Loss is a host that is gone.
type Loss struct {
	Host, Domain string
	At           time.Time
}

// Due lists the lost hosts whose pods may be replaced at now, the first lost first, and when to ask again (zero: never).
// sizes tells how many hosts each domain has, lost ones included; a domain that is not in it is not braked.
func (b Brake) Due(losses []Loss, sizes map[string]int, now time.Time) (due []string, next time.Time) {
	losses = slices.SortedFunc(slices.Values(losses), func(x, y Loss) int {
		return cmp.Or(cmp.Compare(x.Domain, y.Domain), x.At.Compare(y.At), cmp.Compare(name(x.Host), name(y.Host)), cmp.Compare(x.Host, y.Host))
	})
	var out []Loss
	for len(losses) > 0 {
		n := 1
		for n < len(losses) && losses[n].Domain == losses[0].Domain && losses[n].At.Sub(losses[n-1].At) <= b.Window {
			n++
		}
		storm := losses[:n]
		losses = losses[n:]
		for i, l := range storm {
			if at := b.turn(storm, i, sizes[l.Domain]); !at.After(now) {
				out = append(out, l)
			} else if next.IsZero() || at.Before(next) {
				next = at
			}
		}
	}
	slices.SortFunc(out, func(x, y Loss) int { return cmp.Or(x.At.Compare(y.At), cmp.Compare(x.Host, y.Host)) })
	for _, l := range out {
		due = append(due, l.Host)
	}
	return due, next
}

// turn is when the pods of the i-th lost host of a storm may be replaced.
func (b Brake) turn(storm []Loss, i, size int) time.Time {
	if size == 0 || len(storm) < b.Least || int64(len(storm))*100 < b.Share*int64(size) || i < b.Burst {
		return storm[i].At
	}
	paced := storm[0].At.Add(time.Duration(i-b.Burst+1) * b.Every)
	if paced.Before(storm[i].At) {
		return storm[i].At
	}
	return paced
}
