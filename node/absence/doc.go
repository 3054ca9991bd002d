// Package absence remembers which servers were out of sight, and what follows from it for the placing of pods: a server
// that comes and goes is the last resort for new pods for a while, and when much of a failure domain is lost at once its servers are given
// up one after the other. It only turns what this server sees of others into placement.Damping and placement.Brake; nothing
// is stored.
package absence
