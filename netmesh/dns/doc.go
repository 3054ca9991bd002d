// Package dns answers names of the mesh's services and pods to the pods of one host, and passes every other question on
// to the host's own name servers. The records follow the Kubernetes DNS specification 1.1.0
// (https://github.com/kubernetes/dns/blob/master/docs/specification.md). A Zone is immutable and swapped whole, so that
// an answer never shows half of a change and never waits for one.
package dns
