package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/distribution/reference"

	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/amend"
)

// Kind is the store's kind of image records; their names are hashes of the normalised reference.
const Kind = "mesh/images"

// Record says which image a reference means in this mesh.
type Record struct {
	Ref     string    `json:"ref"` // normalised: "docker.io/library/todo:v1"
	ID      string    `json:"id"`  // "sha256:…" of the image's configuration
	Size    int64     `json:"size"`
	By      string    `json:"by"` // node name
	Created time.Time `json:"created"`
}

// Normalise gives a reference its full form, with the tag "latest" where it has neither tag nor digest.
func Normalise(ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("%w %q: %w", ErrInvalidName, ref, err)
	}
	return reference.TagNameOnly(named).String(), nil
}

func recordKey(ref string) store.Key {
	h := sha256.Sum256([]byte(ref))
	return store.Key{Kind: Kind, Name: hex.EncodeToString(h[:16])}
}

// Records is the part of the replica that image records live in.
type Records interface {
	Get(store.Key) (*store.Object, store.Revision)
	List(store.Selector, store.ListOptions) ([]*store.Object, store.Revision, int, error)
	Write(context.Context, store.Write) (*store.Object, error)
}

func lookup(r Records, ref string) (Record, bool) {
	o, _ := r.Get(recordKey(ref))
	if o == nil {
		return Record{}, false
	}
	var rec Record
	if err := json.Unmarshal(o.Bodies[store.Intent], &rec); err != nil || rec.Ref != ref {
		return Record{}, false
	}
	return rec, true
}

// remember makes rec what its reference means, whatever it meant before.
func remember(ctx context.Context, r Records, rec Record) error {
	body, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	err = amend.Object(ctx, r, recordKey(rec.Ref), true, func(*store.Object) ([]byte, error) { return body, nil })
	if err != nil {
		return fmt.Errorf("remember image %s: %w", rec.Ref, err)
	}
	return nil
}

func records(r Records) ([]Record, error) {
	objs, _, _, err := r.List(store.Selector{Kind: Kind}, store.ListOptions{})
	if err != nil {
		return nil, err
	}
	out := make([]Record, 0, len(objs))
	for _, o := range objs {
		var rec Record
		if json.Unmarshal(o.Bodies[store.Intent], &rec) == nil {
			out = append(out, rec)
		}
	}
	return out, nil
}
