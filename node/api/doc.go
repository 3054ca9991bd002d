// Package api serves the Kubernetes API that every node runs over its own replica of the mesh's objects: the generic
// server of k8s.io/apiserver with the unmodified registries of k8s.io/kubernetes, over package replica instead of etcd.
//
// Validation, defaulting, server-side apply, tables, OpenAPI, admission and RBAC are upstream's. What is Orpheus's own: how
// objects are kept (replica), how they look while hosts are out of sight (lens), how Secrets are sealed (seal), who is let
// in (certificates of the mesh's CA, tokens signed on any node), how service addresses and node ports are claimed without
// a coordinator, and what the garbage collector may delete.
package api
