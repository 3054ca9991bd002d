package api

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/serviceaccount"
)

// LoadTokenKey reads the key that signs ServiceAccount tokens on this node, and makes it where the file is missing.
func LoadTokenKey(path string) (*ecdsa.PrivateKey, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return createTokenKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the token key: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("read the token key %s: no PEM block: remove the file to get a new key", path)
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the token key %s: %w", path, err)
	}
	return key, nil
}

func createTokenKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	// Written beside, synced and renamed: a power cut leaves the whole key or none.
	beside := path + ".new"
	if err := writeSynced(beside, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})); err != nil {
		return nil, fmt.Errorf("write the token key: %w", err)
	}
	if err := os.Rename(beside, path); err != nil {
		return nil, fmt.Errorf("write the token key: %w", err)
	}
	return key, nil
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// KeyID names a public key as the header of the tokens that it checks does.
func KeyID(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("name a token key: %w", err)
	}
	h := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(h[:]), nil
}

// meshKeys are the public token keys of all nodes. It implements serviceaccount.PublicKeysGetter.
type meshKeys struct {
	own   serviceaccount.PublicKey
	peers func() map[string]crypto.PublicKey
}

func (meshKeys) AddListener(serviceaccount.Listener) {}
func (meshKeys) GetCacheAgeMaxSeconds() int          { return 60 }

func (m meshKeys) GetPublicKeys(_ context.Context, id string) []serviceaccount.PublicKey {
	if id == m.own.KeyID {
		return []serviceaccount.PublicKey{m.own}
	}
	peers := m.peers()
	if id != "" {
		if key, ok := peers[id]; ok {
			return []serviceaccount.PublicKey{{KeyID: id, PublicKey: key}}
		}
		return nil
	}
	all := []serviceaccount.PublicKey{m.own}
	for id, key := range peers {
		if id != m.own.KeyID {
			all = append(all, serviceaccount.PublicKey{KeyID: id, PublicKey: key})
		}
	}
	return all
}

// bindings reads what tokens are bound to, straight from the registries, so that a token dies with its pod. The
// registries come into being after the authenticator; until then nothing is found.
type bindings struct {
	from atomic.Pointer[map[string]rest.Getter] // by resource
}

func (b *bindings) get(ctx context.Context, resource, namespace, name string, out runtime.Object) error {
	from := b.from.Load()
	if from == nil {
		return errors.New("the server is still starting")
	}
	obj, err := (*from)[resource].Get(genericapirequest.WithNamespace(ctx, namespace), name, &metav1.GetOptions{})
	seen, noted := ctx.Value(sightingsKey{}).(*sightings)
	if err != nil {
		if noted && apierrors.IsNotFound(err) {
			seen.note("")
		}
		return err
	}
	if m, err := meta.Accessor(obj); noted && err == nil {
		seen.note(m.GetUID())
	}
	return legacyscheme.Scheme.Convert(obj, out, nil)
}

func (b *bindings) GetServiceAccount(ctx context.Context, namespace, name string) (*v1.ServiceAccount, error) {
	out := &v1.ServiceAccount{}
	return out, b.get(ctx, "serviceaccounts", namespace, name, out)
}

func (b *bindings) GetPod(ctx context.Context, namespace, name string) (*v1.Pod, error) {
	out := &v1.Pod{}
	return out, b.get(ctx, "pods", namespace, name, out)
}

func (b *bindings) GetSecret(ctx context.Context, namespace, name string) (*v1.Secret, error) {
	out := &v1.Secret{}
	return out, b.get(ctx, "secrets", namespace, name, out)
}

func (b *bindings) GetNode(ctx context.Context, name string) (*v1.Node, error) {
	out := &v1.Node{}
	return out, b.get(ctx, "nodes", "", name, out)
}
