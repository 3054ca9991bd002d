package replica

import (
	"strings"

	"k8s.io/apiserver/pkg/storage"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// key reads a storage key of one object: prefix/namespace/name or prefix/name.
func (k *Kind) key(path string) (store.Key, error) {
	path, err := storage.PrepareKey(k.prefix, path, false)
	if err != nil {
		return store.Key{}, err
	}
	rest := strings.TrimPrefix(path, k.prefix)
	if ns, name, ok := strings.Cut(rest, "/"); ok {
		return store.Key{Kind: k.name, Namespace: ns, Name: name}, nil
	}
	return store.Key{Kind: k.name, Name: rest}, nil
}

// selector reads the storage key of a list or watch, and the prefix that continue tokens are relative to.
func (k *Kind) selector(path string, recursive bool) (store.Selector, string, error) {
	path, err := storage.PrepareKey(k.prefix, path, recursive)
	if err != nil {
		return store.Selector{}, "", err
	}
	if !recursive {
		key, err := k.key(path)
		if key.Name == "" {
			key.Name = noName
		}
		return store.Selector{Kind: key.Kind, Namespace: key.Namespace, Name: key.Name}, path, err
	}
	ns := strings.Trim(strings.TrimPrefix(path, k.prefix), "/")
	return store.Selector{Kind: k.name, Namespace: ns}, path, nil
}

// noName is no object's name.
const noName = "/"

// path is the inverse of key.
func (k *Kind) path(key store.Key) string {
	return k.prefix + after(key)
}

// after names an object for a store.List that goes on behind it.
func after(key store.Key) string {
	if key.Namespace == "" {
		return key.Name
	}
	return key.Namespace + "/" + key.Name
}
