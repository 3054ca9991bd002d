package outlook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// manifest is one object as it was written.
type manifest struct {
	object runtime.Object // nil when the API has no such kind
	kind   string
	raw    []byte // JSON, with its namespace
}

const mostObjects = 1000

// read takes a stream of YAML or JSON documents apart, lists too. A field that the API does not know is an error.
func read(text []byte, namespace string) (out []manifest, err error) {
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for i := 1; ; i++ {
		var raw runtime.RawExtension
		if err := documents.Decode(&raw); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, fmt.Errorf("read document %d: %w", i, err)
		}
		if b := bytes.TrimSpace(raw.Raw); len(b) == 0 || string(b) == "null" {
			continue
		}
		if out, err = decode(out, raw.Raw, namespace); err != nil {
			return nil, fmt.Errorf("read document %d: %w", i, err)
		}
		if len(out) > mostObjects {
			return nil, fmt.Errorf("there are more than %d objects", mostObjects)
		}
	}
}

func decode(out []manifest, raw []byte, namespace string) ([]manifest, error) {
	codecs := serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict)
	o, kind, err := codecs.UniversalDeserializer().Decode(raw, nil, nil)
	switch {
	case runtime.IsNotRegisteredError(err):
		return append(out, manifest{kind: kind.String()}), nil
	case err != nil:
		return nil, err
	}
	if list, is := o.(*corev1.List); is {
		for i := range list.Items {
			if out, err = decode(out, list.Items[i].Raw, namespace); err != nil {
				return nil, fmt.Errorf("item %d: %w", i+1, err)
			}
		}
		return out, nil
	}
	access, err := meta.Accessor(o)
	if err != nil {
		return nil, err
	}
	if access.GetName() == "" && access.GetGenerateName() == "" {
		return nil, fmt.Errorf("a %s without a name", kind.Kind)
	}
	if access.GetNamespace() == "" {
		access.SetNamespace(namespace)
	}
	raw, err = located(raw, access.GetNamespace())
	return append(out, manifest{object: o, kind: kind.Kind, raw: raw}), err
}

// located writes the namespace into an object's JSON.
func located(raw []byte, namespace string) ([]byte, error) {
	var o map[string]any
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, err
	}
	m, is := o["metadata"].(map[string]any)
	if !is {
		return nil, errors.New("an object without metadata")
	}
	m["namespace"] = namespace
	return json.Marshal(o)
}
