// Package placement chooses the host of every pod. It is pure: integers only, no clock, no I/O, no map iteration that
// shows, standard library only. The same View gives the same Plan on every node, byte for byte, in whatever order its
// slices come.
//
// The home of a pod decides by it, the host admits by its true capacity (DESIGN section 8).
package placement
