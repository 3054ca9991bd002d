package figures

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func object(namespace, name, version string, content map[string]any) unstructured.Unstructured {
	o := unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"namespace": namespace, "name": name, "resourceVersion": version},
	}}
	for k, v := range content {
		o.Object[k] = v
	}
	return o
}

func TestDifferences(t *testing.T) {
	kind := schema.GroupResource{Resource: "configmaps"}
	word := func(w string) map[string]any {
		return map[string]any{"data": map[string]any{"word": w, "list": []any{"a", w}}}
	}
	m1 := stripped(kind, []unstructured.Unstructured{object("todo", "a", "7", word("x")), object("", "b", "8", nil), object("todo", "c", "9", nil)})
	m2 := stripped(kind, []unstructured.Unstructured{object("todo", "a", "70", word("x")), object("", "b", "80", nil), object("todo", "c", "90", nil)})
	m3 := stripped(kind, []unstructured.Unstructured{object("todo", "a", "7", word("y")), object("todo", "c", "9", nil), object("todo", "d", "9", nil)})
	if d := differences("configmaps", []string{"m1", "m2"}, map[string]objects{"m1": m1, "m2": m2}); d != nil {
		t.Errorf("%q, want no difference: resource versions are each host's own", d)
	}
	d := differences("configmaps", []string{"m1", "m2", "m3"}, map[string]objects{"m1": m1, "m2": m2, "m3": m3})
	want := []string{
		"configmaps b is on m1, not on m3",
		`configmaps todo/a: data.list[1] is "x" | "y" on m1 and m3`,
		"configmaps todo/d is on m3, not on m1",
	}
	if !slices.Equal(d, want) {
		t.Errorf("%q\nwant %q", d, want)
	}
}

func TestEndpointSlicesAreComparedByWhatTheySay(t *testing.T) {
	kind := schema.GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}
	es := func(name string, addresses ...string) unstructured.Unstructured {
		var list []any
		for _, a := range addresses {
			list = append(list, map[string]any{"addresses": []any{a}})
		}
		o := object("todo", name, "1", map[string]any{"endpoints": list, "ports": []any{map[string]any{"port": int64(80)}}})
		o.SetLabels(map[string]string{"kubernetes.io/service-name": "web"})
		return o
	}
	all := map[string]objects{
		"m1": stripped(kind, []unstructured.Unstructured{es("web-x7", "10.0.0.1", "10.0.0.2")}),
		"m2": stripped(kind, []unstructured.Unstructured{es("web-q1", "10.0.0.2"), es("web-q2", "10.0.0.1")}),
		"m3": stripped(kind, []unstructured.Unstructured{es("web-z", "10.0.0.1")}),
	}
	if d := differences("endpointslices", []string{"m1", "m2"}, all); d != nil {
		t.Errorf("%q, want none: they hold the same endpoints", d)
	}
	if d := differences("endpointslices", []string{"m1", "m3"}, all); len(d) != 1 {
		t.Errorf("%q, want one: an endpoint is missing", d)
	}
}

func TestEditsOfTheSides(t *testing.T) {
	for _, applies := range []int{0, 4, 5, 50, 53} {
		words, old := map[string]bool{}, originals(applies)
		shared := [2]int{}
		for side := range 2 {
			edits := editsOf(side, applies)
			if len(edits) != applies {
				t.Fatalf("%d edits, want %d", len(edits), applies)
			}
			for _, e := range edits {
				if words[e.word] {
					t.Errorf("word %s twice", e.word)
				}
				words[e.word] = true
				if e.both {
					shared[side]++
				}
				if exists := slices.Contains(old, e.name); exists == strings.HasPrefix(e.name, "new-") {
					t.Errorf("%s: exists before the split %t", e.name, exists)
				}
			}
		}
		if shared != [2]int{applies / 5, applies / 5} || len(old) != applies/5*3 {
			t.Errorf("%d applies: %v shared and %d originals", applies, shared, len(old))
		}
	}
}

func TestLostEdits(t *testing.T) {
	sides := [2][]edit{editsOf(0, 5), editsOf(1, 5)}
	whole := func() shown {
		s := shown{words: map[string]string{}, siblings: map[string][]string{}}
		for _, side := range sides {
			for _, e := range side {
				s.words[e.name] = e.word
				if e.both {
					s.siblings[e.name] = append(s.siblings[e.name], `{"data":{"word":"`+e.word+`"}}`)
				}
			}
		}
		return s
	}
	if lost, unlisted := whole().lost(sides); lost != nil || unlisted != nil {
		t.Errorf("lost %q, unlisted %q of a whole picture", lost, unlisted)
	}
	s := whole()
	delete(s.words, "new-1-003")
	s.words["old-0-000"] = "first"
	s.siblings["shared-000"] = s.siblings["shared-000"][:1] // what executes by word, and nothing that waits: side 1's word is the object's
	lost, unlisted := s.lost(sides)
	if want := []string{"old-0-000 word-0-001", "new-1-003 word-1-003"}; !slices.Equal(lost, want) || !slices.Equal(unlisted, []string{"shared-000"}) {
		t.Errorf("lost %q, unlisted %q, want %q and shared-000", lost, unlisted, want)
	}
	s = whole()
	s.siblings = nil
	if lost, _ := s.lost(sides); !slices.Equal(lost, []string{"shared-000 word-0-000"}) {
		t.Errorf("lost %q, want the edit that neither executes nor waits", lost)
	}
}
