package gossip

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/orpheus-mesh/orpheus/gossip/store"
	"pgregory.net/rapid"
)

func candidates(n int) []candidate {
	out := make([]candidate, n)
	for i := range out {
		out[i] = candidateOf(ID(fmt.Sprintf("12D3KooWBhV9dp6FDvFzRK8f2cbvRgGtZ2HnzUYCkSmPqUYx%04d", i)))
	}
	return out
}

func podKey(i int) store.Key {
	return store.Key{Kind: "core/pods", Namespace: "default", Name: fmt.Sprintf("web-%d", i)}
}

func TestHomeIsFair(t *testing.T) {
	const keys = 60_000
	for _, n := range []int{2, 3, 5, 10, 33} {
		members, count := candidates(n), make(map[ID]int)
		for i := range keys {
			count[home(podKey(i), members)]++
		}
		want := float64(keys) / float64(n)
		chi := 0.0
		for _, m := range members {
			d := float64(count[m.id]) - want
			chi += d * d / want
		}
		// Chi-squared with n-1 degrees of freedom; 5 standard deviations over its mean.
		if limit := float64(n-1) + 5*math.Sqrt(2*float64(n-1)); chi > limit {
			t.Errorf("%d members: chi² %.1f over %.1f: %v", n, chi, limit, count)
		}
	}
}

func TestHomeMovesOnlyWhatItMust(t *testing.T) {
	members := candidates(10)
	rapid.Check(t, func(t *rapid.T) {
		key := store.Key{Kind: rapid.StringMatching(`[a-z]+/[a-z]+`).Draw(t, "kind"), Name: rapid.String().Draw(t, "name")}
		gone := rapid.IntRange(0, 9).Draw(t, "gone")
		before := home(key, members)
		rest := append(append([]candidate(nil), members[:gone]...), members[gone+1:]...)
		after := home(key, rest)
		if before != members[gone].id && after != before {
			t.Fatalf("home moved from %s to %s when %s left", before, after, members[gone].id)
		}
		reversed := make([]candidate, len(members))
		for i, m := range members {
			reversed[len(members)-1-i] = m
		}
		if home(key, reversed) != before {
			t.Fatal("home depends on the order of members")
		}
	})
}

func TestNextHomesAreThoseOfTheSurvivors(t *testing.T) {
	members := candidates(7)
	for i := range 100 {
		order := homes(podKey(i), members, 5)
		if len(order) != 5 {
			t.Fatalf("%d homes", len(order))
		}
		left := members
		for _, want := range order {
			if got := home(podKey(i), left); got != want {
				t.Fatalf("%s is next, not %s", got, want)
			}
			left = slices.DeleteFunc(slices.Clone(left), func(c candidate) bool { return c.id == want })
		}
	}
	if got := homes(podKey(1), members[:2], 5); len(got) != 2 {
		t.Errorf("two members are %d homes", len(got))
	}
}
