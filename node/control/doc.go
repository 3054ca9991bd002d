// Package control is the door between the `orpheus` command and the daemon on the same server: HTTP with JSON on a unix
// socket that only root may open. What needs the mesh's secrets (tokens, kubeconfigs) or the local engine (images) goes
// through it; everything else is the Kubernetes API.
package control
