package main

import (
	_ "github.com/google/go-containerregistry/pkg/registry"
	_ "github.com/klauspost/compress/zstd"
	_ "k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher"
	_ "k8s.io/kubernetes/pkg/kubelet/prober"
)
