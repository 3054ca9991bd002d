package gossip

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// goldenFiles are a data directory of a server that was the first of its mesh.
var goldenFiles = []string{identityFile, keysFile, certificateFile, peersFile}

// The files of a server from before can be read, are what they were, and are written as they were.
func TestGoldenFiles(t *testing.T) {
	dir := "testdata"
	if *update {
		for _, name := range goldenFiles {
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
		if err := Create(Config{Dir: dir, Name: "n0", Listen: freePort(t)}); err != nil {
			t.Fatal(err)
		}
		book := []known{{ID: "12D3KooWGRUfvQ2hYyBQUrsxDcPbW4vfHdGb8s6wFUVNoQRh1fGr", Name: "n1", Addr: freePort(t), Region: "eu", Zone: "a", Lost: true}}
		if err := writeJSON(filepath.Join(dir, peersFile), book); err != nil {
			t.Fatal(err)
		}
	}
	keys, self, _ := founded(t)
	var cert certificate
	if err := readJSON(filepath.Join(dir, certificateFile), &cert); err != nil {
		t.Fatal(err)
	}
	ca, err := keys.authority()
	if err != nil {
		t.Fatal(err)
	}
	if c, err := cert.admits(ca, keys.MeshID, self.id); err != nil || c.Name != "n0" || c.Admitted == 0 {
		t.Errorf("the certificate says %+v, %v", c, err)
	}
	if _, err := keys.issue(self.ID(), "n0", time.Now()); err != nil {
		t.Errorf("the keys issue nothing: %v", err)
	}
	book, err := openBook(filepath.Join(dir, peersFile))
	if err != nil {
		t.Fatal(err)
	}
	if all := book.all(); len(all) != 1 || all[0].Name != "n1" || all[0].Region != "eu" || !all[0].Lost || !all[0].Addr.IsValid() {
		t.Errorf("known peers are %+v", all)
	}
	for name, v := range map[string]any{keysFile: keys, certificateFile: cert, peersFile: book.all()} {
		again := filepath.Join(t.TempDir(), name)
		if err := writeJSON(again, v); err != nil {
			t.Fatal(err)
		}
		was, err1 := os.ReadFile(filepath.Join(dir, name))
		is, err2 := os.ReadFile(again)
		if err1 != nil || err2 != nil || !bytes.Equal(was, is) {
			t.Errorf("%s is written otherwise: %s\nwas %s", name, is, was)
		}
	}
}
