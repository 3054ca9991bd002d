package main

import (
	_ "go.uber.org/goleak"
	_ "k8s.io/apiserver/pkg/storage/testing"
	_ "k8s.io/kubernetes/pkg/kubelet/types"
	_ "pgregory.net/rapid"
)
