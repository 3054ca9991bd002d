// Package replica is a Kubernetes storage backend over the store that every node holds: storage.Interface for the
// unmodified registries of k8s.io/kubernetes, with no etcd behind it.
//
// One object of the API is three registers of the store. What users ask for is the Intent; the status of pods and nodes
// is the Observation of the one host that it is about; every other status is written by the object's home. A write is
// compared with what it was made from and only the parts that differ are written, so that the writers of different parts
// never conflict. Reads put the parts together, then look through the lens: what is derived from liveness is shown and
// never stored.
package replica
