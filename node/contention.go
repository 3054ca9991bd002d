package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// contentionSweep is how often siblings are looked for. They come of merges and of edits that crossed: nobody waits for the word.
const contentionSweep = 10 * time.Second

// contention tells of objects that were edited on both sides of a partition, in an event on the object, where `kubectl describe` shows
// it. The object's home tells, once for each set of edits in its life.
type contention struct {
	siblings func() []*store.Object
	mine     func(kind, namespace, name string) bool
	nameOf   func(author string) string
	tell     func(about *corev1.ObjectReference, message string)

	told map[store.Key]string // which edits; of run alone. As many as there are siblings
}

func (c *contention) run(ctx context.Context) error {
	for {
		c.round()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(contentionSweep + rand.N(contentionSweep/4)):
		}
	}
}

func (c *contention) round() {
	told := map[store.Key]string{}
	for _, o := range c.siblings() {
		if !c.mine(o.Kind, o.Namespace, o.Name) {
			continue
		}
		told[o.Key] = edits(o)
		if c.told[o.Key] != told[o.Key] {
			c.tell(reference(o), c.message(o))
		}
	}
	c.told = told
}

// edits tells one set of edits from another.
func edits(o *store.Object) string {
	all := []string{o.Author}
	for _, e := range o.Others {
		all = append(all, fmt.Sprintf("%s@%d", e.Author, e.Time))
	}
	return strings.Join(all, " ")
}

func (c *contention) message(o *store.Object) string {
	var others []string
	for _, e := range o.Others {
		what := "an edit"
		if e.Delete {
			what = "a deletion"
		}
		others = append(others, fmt.Sprintf("%s made at %s (%s)", what, c.nameOf(e.Author), time.UnixMilli(e.Time).UTC().Format(time.RFC3339)))
	}
	return fmt.Sprintf("changed by two people at the same time: the edit made at %s is in force, %s is not. See `orpheus conflicts`; whoever writes the object once more settles it",
		c.nameOf(o.Author), strings.Join(others, " and "))
}

// reference names the object as clients do. What is stored encrypted does not say its kind.
func reference(o *store.Object) *corev1.ObjectReference {
	ref := &corev1.ObjectReference{Namespace: o.Namespace, Name: o.Name, UID: types.UID(o.UID)}
	if o.Kind == "core/secrets" {
		ref.APIVersion, ref.Kind = "v1", "Secret"
	} else if obj, err := runtime.Decode(legacyscheme.Codecs.UniversalDeserializer(), o.Bodies[store.Intent]); err == nil {
		ref.APIVersion, ref.Kind = obj.GetObjectKind().GroupVersionKind().ToAPIVersionAndKind()
	}
	return ref
}

func (s *server) tellContention(about *corev1.ObjectReference, message string) {
	s.recorder.Event(about, corev1.EventTypeWarning, "Conflict", message)
}
