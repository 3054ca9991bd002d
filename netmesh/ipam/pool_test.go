package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func pool(t interface{ Fatal(...any) }, cidr string) *Pool {
	p, err := New(netip.MustParsePrefix(cidr))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAssignIsTheSameForTheSamePod(t *testing.T) {
	p := pool(t, "10.32.7.0/24")
	a, err := p.Assign("x")
	if err != nil || a.String() != "10.32.7.2" {
		t.Fatalf("%s, %v: want the first address after the host's", a, err)
	}
	if b, _ := p.Assign("x"); b != a {
		t.Errorf("asked again: %s, want %s", b, a)
	}
}

func TestExhaustionAndReuse(t *testing.T) {
	p := pool(t, "10.32.7.0/24")
	for i := range 253 {
		a, err := p.Assign(fmt.Sprint(i))
		if err != nil {
			t.Fatalf("pod %d of 253: %v", i, err)
		}
		if b := a.As4()[3]; b < 2 || b > 254 {
			t.Fatalf("%s was given", a)
		}
	}
	if _, err := p.Assign("one more"); !errors.Is(err, ErrExhausted) {
		t.Fatalf("the 254th pod: %v, want %v", err, ErrExhausted)
	}
	for _, uid := range []string{"9", "5", "5"} {
		p.Release(uid)
	}
	a, _ := p.Assign("next")
	if want := netip.MustParseAddr("10.32.7.11"); a != want { // pod 9's
		t.Errorf("%s: want the address that has been free for longest, %s", a, want)
	}
}

func TestAdopt(t *testing.T) {
	p := pool(t, "10.32.7.0/24")
	taken := netip.MustParseAddr("10.32.7.2")
	if err := errors.Join(p.Adopt("x", taken), p.Adopt("x", taken)); err != nil {
		t.Fatal(err)
	}
	if err := p.Adopt("y", taken); !errors.Is(err, ErrTaken) {
		t.Errorf("another pod's address: %v, want %v", err, ErrTaken)
	}
	for _, bad := range []string{"10.32.7.1", "10.32.7.0", "10.32.7.255", "10.32.8.2"} {
		if err := p.Adopt("z", netip.MustParseAddr(bad)); err == nil {
			t.Errorf("%s was adopted", bad)
		}
	}
	if a, _ := p.Assign("y"); a == taken {
		t.Error("an adopted address was given away")
	}
}

func TestBadSlots(t *testing.T) {
	for _, p := range []netip.Prefix{{}, netip.MustParsePrefix("10.0.0.0/30"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/120")} {
		if _, err := New(p); err == nil {
			t.Errorf("pool of %s was made", p)
		}
	}
}

// TestPoolNeverGivesAnAddressTwice drives a pool at random beside a plain map.
func TestPoolNeverGivesAnAddressTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := pool(t, "10.32.7.0/28")
		model := map[string]netip.Addr{}
		t.Repeat(map[string]func(*rapid.T){
			"assign": func(t *rapid.T) {
				uid := fmt.Sprint(rapid.IntRange(0, 20).Draw(t, "pod"))
				a, err := p.Assign(uid)
				if had, ok := model[uid]; ok && (err != nil || a != had) {
					t.Fatalf("pod %s had %s and got %s, %v", uid, had, a, err)
				}
				if err == nil {
					model[uid] = a
				} else if len(model) != 13 {
					t.Fatalf("exhausted with %d of 13 in use", len(model))
				}
			},
			"release": func(t *rapid.T) {
				uid := fmt.Sprint(rapid.IntRange(0, 20).Draw(t, "pod"))
				p.Release(uid)
				delete(model, uid)
			},
			"restart": func(t *rapid.T) {
				p = pool(t, "10.32.7.0/28")
				for uid, a := range model {
					if err := p.Adopt(uid, a); err != nil {
						t.Fatal(err)
					}
				}
			},
			"": func(t *rapid.T) {
				seen := map[netip.Addr]string{}
				for uid, a := range model {
					if other, twice := seen[a]; twice {
						t.Fatalf("%s belongs to %s and %s", a, uid, other)
					}
					seen[a] = uid
				}
				if p.Free()+len(model) != 13 {
					t.Fatalf("%d free and %d in use of 13", p.Free(), len(model))
				}
			},
		})
	})
}
