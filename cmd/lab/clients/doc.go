// Package clients holds the tests that real clients stand up to: kubectl as it is embedded in orpheus, kubectl of another version, and
// Helm, all unmodified, typed by a person who sits at one host and works on pods that run on another. `make clients` builds
// the two that are not ours.
package clients
