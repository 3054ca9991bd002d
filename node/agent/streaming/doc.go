// Package streaming is the door through which the API server of any node reaches into the pods of this one: logs, exec,
// attach and port-forward. Paths and protocols are the kubelet's, so that upstream's registries proxy to it unchanged.
// Only holders of a client certificate of the mesh's CA in the group system:masters may use it.
package streaming
