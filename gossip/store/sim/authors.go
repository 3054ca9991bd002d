package sim

// authors speak without being replicas: a member of a later version, and one who lies.
type authors struct {
	w *world
}

func newAuthors(w *world) authors { return authors{w: w} }

func (a authors) members() []string { return nil }

func (a authors) lies(actor string) bool { return actor == "liar" }

func (a authors) speak() {}
