// Package gossip joins servers into a mesh without a master: identity (an ed25519 libp2p key), admission by single-use
// tokens, membership by serf, encrypted streams and deltas by libp2p, and the home of every object by rendezvous hashing.
//
// serf gives hints of liveness, never authority: what is lost is decided here, after suspicion and a direct check.
package gossip
