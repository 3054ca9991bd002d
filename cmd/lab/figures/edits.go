package figures

import (
	"fmt"
	"slices"
	"strings"
)

const splitNamespace = "figures-split"

// edit is one apply of one side of a split: afterwards the object holds the word, or the word waits as a sibling.
type edit struct {
	name string
	word string // no two edits have the same, and none is part of another
	both bool   // the other side changes the same object
}

// originals are the objects that exist before a split, to be changed by one side or by both.
func originals(applies int) (names []string) {
	for i := range applies / 5 {
		names = append(names, fmt.Sprintf("shared-%03d", i), fmt.Sprintf("old-0-%03d", i), fmt.Sprintf("old-1-%03d", i))
	}
	return names
}

// editsOf are what a side (0 or 1) applies: a fifth to objects that the other side changes too, a fifth to old objects that it alone
// changes, the rest new ones.
func editsOf(side, applies int) (all []edit) {
	for i := range applies {
		e := edit{word: fmt.Sprintf("word-%d-%03d", side, i)}
		switch fifth := i / 5; i % 5 {
		case 0:
			e.name, e.both = fmt.Sprintf("shared-%03d", fifth), true
		case 1:
			e.name = fmt.Sprintf("old-%d-%03d", side, fifth)
		default:
			e.name = fmt.Sprintf("new-%d-%03d", side, i)
		}
		if i >= applies/5*5 { // the last few have no original
			e.name, e.both = fmt.Sprintf("new-%d-%03d", side, i), false
		}
		all = append(all, e)
	}
	return all
}

func (e edit) yaml() string {
	return fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata: {name: %s, namespace: %s}
data: {word: %s}
`, e.name, splitNamespace, e.word)
}

func originalsYAML(applies int) string {
	all := []string{"apiVersion: v1\nkind: Namespace\nmetadata: {name: " + splitNamespace + "}\n"}
	for _, name := range originals(applies) {
		all = append(all, edit{name: name, word: "first"}.yaml())
	}
	return strings.Join(all, "---\n")
}

// shown is what one host shows of the edited objects after healing.
type shown struct {
	words    map[string]string   // by object
	siblings map[string][]string // bodies of what executes and of what waits, by object with a conflict
}

// lost lists the edits that a host shows neither as the object nor as a sibling, and the shared objects that it lists no conflict for.
func (s shown) lost(sides [2][]edit) (edits, unlisted []string) {
	for _, side := range sides {
		for _, e := range side {
			if s.words[e.name] != e.word && !contained(s.siblings[e.name], e.word) {
				edits = append(edits, e.name+" "+e.word)
			}
			if e.both && len(s.siblings[e.name]) < 2 && !slices.Contains(unlisted, e.name) {
				unlisted = append(unlisted, e.name)
			}
		}
	}
	return edits, unlisted
}

func contained(bodies []string, word string) bool {
	for _, b := range bodies {
		if strings.Contains(b, word) {
			return true
		}
	}
	return false
}
