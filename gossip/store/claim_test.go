package store

import (
	"testing"
	"time"
)

// TestOlderClaimStays: one address, claimed on two sides of a split.
func TestOlderClaimStays(t *testing.T) {
	ip := Key{"net/addresses", "", "10.96.0.7"}
	for name, c := range map[string]struct {
		more func(l *lab)
		want string
	}{
		"older stays, the other is told":      {func(*lab) {}, "a | b"},
		"whoever wrote last":                  {func(l *lab) { _ = l.do("b", Write{Key: ip, Claim: true, Body: []byte("b2")}) }, "a | b2"},
		"a person's is no better":             {func(l *lab) { _ = l.do("b", Write{Key: ip, Claim: true, Human: true, Body: []byte("b2")}) }, "a | b2"},
		"the loser's release frees nothing":   {func(l *lab) { _ = l.do("b", Write{Key: ip, Op: Delete}) }, "a"},
		"the holder's release ends the claim": {func(l *lab) { _ = l.do("a", Write{Key: ip, Op: Delete}) }, "nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, "a", "b")
			if err := l.do("a", Write{Key: ip, Claim: true, Body: []byte("a")}); err != nil {
				t.Fatal(err)
			}
			l.now = l.now.Add(time.Second)
			if err := l.do("b", Write{Key: ip, Claim: true, Body: []byte("b")}); err != nil {
				t.Fatal(err)
			}
			l.now = l.now.Add(time.Second)
			c.more(l)
			l.mix("a", "b")
			for _, at := range []string{"a", "b"} {
				if got := describe(l.object(at, ip)); got != c.want {
					t.Errorf("%s shows %s, want %s", at, got, c.want)
				}
			}
		})
	}
}
