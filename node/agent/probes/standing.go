// Package probes asks the containers of a pod how they are: startup, liveness and readiness, over HTTP, TCP, gRPC or a
// command in the container. A probe is one goroutine; what it finds is a Standing that others read.
package probes

// Result is what a probe has found out so far.
type Result int

const (
	Unknown Result = iota // nothing yet
	Success
	Failure
)

func (r Result) String() string { return [...]string{"unknown", "success", "failure"}[r] }

// Standing is how a container is doing. A container that has no startup probe has started; one that has no liveness or
// readiness probe is alive and ready.
type Standing struct{ Startup, Liveness, Readiness Result }

// tally counts equal answers in a row: only enough of them change a result.
type tally struct {
	last bool
	run  int32
}

// add counts one answer and gives the result that it establishes, or Unknown when there are not enough of them yet.
// Thresholds below one count as one.
func (t *tally) add(ok bool, successes, failures int32) Result {
	if ok != t.last {
		t.run = 0
	}
	t.last, t.run = ok, t.run+1
	switch {
	case ok && t.run >= successes:
		return Success
	case !ok && t.run >= failures:
		return Failure
	}
	return Unknown
}
