// Package docker is the edge to one Docker Engine. It bounds every call in time, marks every container that it makes with
// labels, and knows nothing of Kubernetes.
//
// Containers are found again by their labels alone, so that a restarted daemon picks up what a former life of it left
// running. Methods of Engine may be called from any goroutine.
package docker
