//go:build race

package gossip

// raced: the race detector makes everything ten times as slow.
const raced = true
