// Package judge holds the binder's translation and the placement against kube-scheduler's own Filter plugins. It has tests
// only, in a folder of their own, because they are built with k8s.io/kubernetes, which the binder is not.
package judge
