// Package ingress is the way into the mesh for HTTP: every node listens, matches requests against an immutable table of
// routes and forwards them to an endpoint of the service. The table is pure data (Compile, Table.Route); Proxy is the
// edge that serves it and swaps it whole (Set).
//
// It knows no Kubernetes types: rules, backends and certificates are given in its own words, with the semantics of the
// Kubernetes Ingress API (networking.k8s.io/v1).
package ingress
