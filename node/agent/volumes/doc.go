// Package volumes gives pods their volumes on one host: directories and tmpfs mounts below the agent's directory, filled
// from the API and kept true while the pod lives. Payloads, atomic writes and safe sub-paths are the kubelet's own code.
//
//	DIR/pods/<uid>/volumes/<name>     emptyDir (disk or tmpfs), configMap, secret*, projected*, downwardAPI*   (*: tmpfs)
//	DIR/pods/<uid>/volume-subpaths/   bind mounts of sub-paths
//	DIR/claims/<pvc uid>              data of node-local persistent volumes, outliving pods
//
// Nothing is kept in memory but tokens: Setup may be called again at any time, also by a new life of the daemon.
package volumes
