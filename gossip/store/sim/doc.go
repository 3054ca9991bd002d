// Package sim drives replicas of the store (package store) to destruction: virtual time, disks that lose what was not
// synced, a network that loses, delays, repeats, reorders and splits, clocks that jump, nodes that crash, stay away for a
// month, come back from an old backup or with a new disk, authors of a later version, and a liar who is a member.
//
// One seed is two histories: one of chance, and a scene, which dwells on one situation that chance seldom brings about, in a small
// world of its own; one seed in eight has an encore, a scene that came later. Run is a single goroutine that draws everything from
// the seed and never looks at the order of a map, so the same seed gives the same trace byte by byte. What the world promises to
// whoever used it is kept apart from the replicas in an oracle, which knows only what any client can see, and what records are on
// the disks. It is checked after every step as far as that is cheap, and wholly once all is quiet.
//
//	go run ./gossip/store/sim/cmd/seeds -seed 42 -trace      replays one seed
package sim
