package dns

import (
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Bounds of the memory of upstream answers.
const (
	cacheEntries = 4096
	cacheAtMost  = 60 * time.Second
)

// cache remembers upstream answers for as long as they allow, a minute at most.
type cache struct {
	now func() time.Time

	mu      sync.Mutex // guards entries
	entries map[cacheKey]cached
}

type cacheKey struct {
	question dns.Question
	dnssec   bool // the client asked for signatures
	checking bool // the client checks them itself
}

type cached struct {
	reply *dns.Msg
	since time.Time
	until time.Time
}

func newCache() *cache { return &cache{now: time.Now, entries: map[cacheKey]cached{}} }

func keyOf(m *dns.Msg) cacheKey {
	q := m.Question[0]
	q.Name = dns.CanonicalName(q.Name)
	k := cacheKey{question: q, checking: m.CheckingDisabled}
	if o := m.IsEdns0(); o != nil {
		k.dnssec = o.Do()
	}
	return k
}

// get returns a copy whose times to live have run on.
func (c *cache) get(k cacheKey) *dns.Msg {
	c.mu.Lock()
	e, ok := c.entries[k]
	now := c.now()
	if ok && !now.Before(e.until) {
		delete(c.entries, k)
		ok = false
	}
	c.mu.Unlock()
	if !ok {
		return nil
	}
	reply := e.reply.Copy()
	gone := uint32(now.Sub(e.since) / time.Second)
	for _, section := range [][]dns.RR{reply.Answer, reply.Ns, reply.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT {
				h.Ttl -= min(gone, h.Ttl)
			}
		}
	}
	return reply
}

func (c *cache) put(k cacheKey, reply *dns.Msg) {
	life := lifetime(reply)
	if life <= 0 || reply.Truncated {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if len(c.entries) >= cacheEntries {
		for old := range c.entries { // any: the map's order is random, and nothing here lives long
			delete(c.entries, old)
			break
		}
	}
	c.entries[k] = cached{reply.Copy(), now, now.Add(life)}
}

// lifetime is the least time to live of an answer; that nothing is there lives as its SOA record says (RFC 2308).
func lifetime(m *dns.Msg) time.Duration {
	life := cacheAtMost
	switch {
	case m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError:
		return 0
	case len(m.Answer) == 0:
		for _, rr := range m.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				return min(life, time.Duration(min(soa.Minttl, soa.Hdr.Ttl))*time.Second)
			}
		}
		return 0
	}
	for _, rr := range m.Answer {
		life = min(life, time.Duration(rr.Header().Ttl)*time.Second)
	}
	return life
}
