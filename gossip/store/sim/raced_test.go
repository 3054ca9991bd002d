//go:build race

package sim

// raced: the race detector makes a history ten times as long, and a simulator of one goroutine has nothing for it to find.
const raced = true
