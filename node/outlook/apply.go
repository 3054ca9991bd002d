package outlook

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// object is a pointer to an API type.
type object[T any] interface {
	*T
	runtime.Object
	metav1.Object
}

// applied is what an object would be after `kubectl apply` of its manifest, with its defaults: what the last apply wrote and this
// one does not goes, what others wrote stays. now is nil when there is none yet.
func applied[T any, P object[T]](m manifest, get func(name string) (P, error)) (now, after P, err error) {
	after = P(new(T))
	now, err = get(m.object.(metav1.Object).GetName())
	switch {
	case apierrors.IsNotFound(err):
		if err := json.Unmarshal(m.raw, after); err != nil {
			return nil, nil, err
		}
		legacyscheme.Scheme.Default(after)
		return nil, after, nil
	case err != nil:
		return nil, nil, err
	}
	if err := merge(now, m.raw, now.GetAnnotations()[corev1.LastAppliedConfigAnnotation], after); err != nil {
		return nil, nil, fmt.Errorf("merge the manifest: %w", err)
	}
	legacyscheme.Scheme.Default(after)
	return now, after, nil
}

// merge is kubectl's three-way merge.
func merge(now runtime.Object, manifest []byte, last string, into runtime.Object) error {
	current, err := json.Marshal(now)
	if err != nil {
		return err
	}
	schema, err := strategicpatch.NewPatchMetaFromStruct(into)
	if err != nil {
		return err
	}
	patch, err := strategicpatch.CreateThreeWayMergePatch([]byte(last), manifest, current, schema, true)
	if err != nil {
		return err
	}
	after, err := strategicpatch.StrategicMergePatchUsingLookupPatchMeta(current, patch, schema)
	if err != nil {
		return err
	}
	return json.Unmarshal(after, into)
}
