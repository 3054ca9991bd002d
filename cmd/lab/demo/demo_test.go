package demo

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// decode reads every document and refuses fields that Kubernetes does not know.
func decode(t *testing.T, text []byte) (all []runtime.Object) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, networkingv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(text)))
	buf := make([]byte, 64<<10)
	for {
		n, err := documents.Read(buf)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		o, _, err := decoder.Decode(buf[:n], nil, nil)
		if err != nil {
			t.Fatalf("%v in\n%s", err, buf[:n])
		}
		all = append(all, o)
	}
}

func TestManifestsAreKubernetes(t *testing.T) {
	text, err := Manifests()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, o := range decode(t, text) {
		kinds[o.GetObjectKind().GroupVersionKind().Kind]++
	}
	want := map[string]int{"Namespace": 1, "Secret": 1, "ConfigMap": 1, "Service": 4, "StatefulSet": 1, "Deployment": 2, "Ingress": 1}
	if fmt.Sprint(kinds) != fmt.Sprint(want) {
		t.Errorf("the manifests hold %v, want %v", kinds, want)
	}
}

func TestTLSIsGoodForTheHost(t *testing.T) {
	manifest, certificate, err := TLS(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	secret := decode(t, manifest)[0].(*corev1.Secret)
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: Host, Roots: roots}); err != nil {
		t.Error(err)
	}
}
