// Package absence remembers which servers were out of sight, and what follows from it for the placing of pods: a server
// that comes and goes gets no new pods for a while. It only turns what this server sees of others into placement.Damping;
// nothing is stored.
package absence
