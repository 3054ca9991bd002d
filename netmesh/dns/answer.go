package dns

import (
	"math/rand/v2"
	"net/netip"

	"github.com/miekg/dns"
)

// ttl is how long answers may be kept, in seconds: as long as a client may go on after an endpoint is withdrawn.
const ttl = 5

// answer fills the reply to a question that the zone owns. An alias of a foreign name is left to the caller: its name is
// returned.
func (z *Zone) answer(reply *dns.Msg, q dns.Question) (foreign string) {
	reply.Authoritative = true
	name := dns.CanonicalName(q.Name)
	r, ok := z.find(name)
	if !ok {
		reply.Rcode = dns.RcodeNameError
		reply.Ns = []dns.RR{z.soa()}
		return ""
	}
	owner := q.Name // as the client spelt it
	for range 8 {   // aliases of aliases end somewhere
		if r.alias == "" {
			break
		}
		reply.Answer = append(reply.Answer, &dns.CNAME{Hdr: header(owner, dns.TypeCNAME), Target: r.alias})
		if q.Qtype == dns.TypeCNAME {
			return ""
		}
		if !z.owns(r.alias) {
			return r.alias
		}
		owner = r.alias
		if r, ok = z.find(owner); !ok {
			reply.Ns = []dns.RR{z.soa()}
			return ""
		}
	}
	found := r.list(owner, q.Qtype)
	if q.Qtype == dns.TypeSRV {
		reply.Extra = append(reply.Extra, z.additional(r)...)
	}
	if name == z.domain && (q.Qtype == dns.TypeSOA || q.Qtype == dns.TypeANY) {
		found = append(found, z.soa())
	}
	if name == z.domain && (q.Qtype == dns.TypeNS || q.Qtype == dns.TypeANY) {
		found = append(found, &dns.NS{Hdr: header(z.domain, dns.TypeNS), Ns: "ns.dns." + z.domain})
	}
	reply.Answer = append(reply.Answer, found...)
	if len(found) == 0 {
		reply.Ns = []dns.RR{z.soa()}
	}
	return ""
}

// list makes the records of one type, in random order, so that clients which take the first spread over all.
func (r *records) list(owner string, qtype uint16) []dns.RR {
	var out []dns.RR
	if qtype == dns.TypeA || qtype == dns.TypeANY {
		out = append(out, addresses(owner, r.addrs)...)
	}
	if qtype == dns.TypeSRV || qtype == dns.TypeANY {
		for _, t := range r.srv {
			out = append(out, &dns.SRV{Hdr: header(owner, dns.TypeSRV), Priority: 0, Weight: uint16(100 / len(r.srv)), Port: t.port, Target: t.name})
		}
	}
	if qtype == dns.TypePTR || qtype == dns.TypeANY {
		for _, name := range r.ptr {
			out = append(out, &dns.PTR{Hdr: header(owner, dns.TypePTR), Ptr: name})
		}
	}
	if qtype == dns.TypeTXT || qtype == dns.TypeANY {
		if len(r.text) > 0 {
			out = append(out, &dns.TXT{Hdr: header(owner, dns.TypeTXT), Txt: r.text})
		}
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func addresses(owner string, addrs []netip.Addr) []dns.RR {
	out := make([]dns.RR, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, &dns.A{Hdr: header(owner, dns.TypeA), A: a.AsSlice()})
	}
	return out
}

// additional spares the client of an SRV answer the questions for the targets' addresses.
func (z *Zone) additional(r *records) []dns.RR {
	var out []dns.RR
	seen := map[string]bool{}
	for _, t := range r.srv {
		if at := z.names[t.name]; at != nil && !seen[t.name] {
			seen[t.name] = true
			out = append(out, addresses(t.name, at.addrs)...)
		}
	}
	return out
}

func header(name string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

// soa stands beside the answer that there is nothing: it says for how long that may be believed.
func (z *Zone) soa() dns.RR {
	return &dns.SOA{
		Hdr: header(z.domain, dns.TypeSOA), Ns: "ns.dns." + z.domain, Mbox: "hostmaster." + z.domain,
		Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl,
	}
}
