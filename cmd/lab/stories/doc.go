// Package stories are what Orpheus must be able to do, told on a lab of real hosts: they are acted by `lab demo` for people
// and by this package's tests for CI, with the same code.
package stories
