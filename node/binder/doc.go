// Package binder gives pods their hosts. Every node runs it, for the pods whose root has its home there. It is one loop
// around a pure decision: a picture of all nodes and claims, kept by two watches, is laid before placement; the
// chosen host is asked to admit the pod, since it alone knows what it has at this moment; then the Binding is written.
// A pod that fits nowhere is told why, in kube-scheduler's words, node by node.
package binder
