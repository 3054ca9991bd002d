package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node"
	"github.com/orpheus-mesh/orpheus/node/control"
)

// vault is a daemon that is nothing but a mesh and the keys of Secrets.
type vault struct {
	control.Daemon
	mesh    *gossip.Mesh
	keyring []byte
}

func (v vault) Backup(ctx context.Context, w io.Writer) error {
	_, err := v.mesh.Backup(ctx, w, store.Attachment{Name: "keyring.json", Data: v.keyring})
	return err
}

// meshIn is a mesh in a directory, at a port that was free a moment ago.
func meshIn(t *testing.T, dir string) gossip.Config {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return gossip.Config{Dir: dir, Name: "n0", Listen: l.Addr().(*net.TCPAddr).AddrPort(), Log: slog.New(slog.DiscardHandler)}
}

// running is the mesh in a directory, until the test ends.
func running(t *testing.T, dir string) *gossip.Mesh {
	t.Helper()
	m, err := gossip.Open(meshIn(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	during(t, m.Run)
	select {
	case <-m.Ready():
	case <-t.Context().Done():
		t.Fatal("the mesh does not get ready")
	}
	return m
}

// contents are all files of a directory.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		files[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A mesh whose servers are all lost begins again from what `orpheus backup` wrote and a passphrase: from the command line, over the
// control socket, with a real mesh behind it.
func TestAMeshBeginsAgainFromItsBackup(t *testing.T) {
	place, run := t.TempDir(), t.TempDir()
	if err := gossip.Create(meshIn(t, filepath.Join(place, "lost"))); err != nil {
		t.Fatal(err)
	}
	lost := running(t, filepath.Join(place, "lost"))
	for _, name := range []string{"one", "two"} {
		if _, err := lost.Store().Write(t.Context(), store.Write{Key: settingsMap(name), Body: []byte("the body of " + name), Human: true}); err != nil {
			t.Fatal(err)
		}
	}
	keyring, err := json.Marshal([][]byte{bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{9}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	during(t, func(ctx context.Context) error {
		return control.Serve(ctx, node.Socket(run), vault{mesh: lost, keyring: keyring}, slog.New(slog.DiscardHandler))
	})
	call := func(args ...string) (string, error) {
		cmd := root()
		var out strings.Builder
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs(args)
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	at := func(name string) string { return filepath.Join(place, name) }
	for name, text := range map[string]string{"right": "correct horse battery\n", "wrong": "correct horse butter\n"} {
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	client := control.Dial(node.Socket(run))
	for err := client.Backup(t.Context(), io.Discard); err != nil && t.Context().Err() == nil; err = client.Backup(t.Context(), io.Discard) { // until it serves
		continue
	}
	if out, err := call("backup", at("file"), "--run-dir", run, "--passphrase-file", at("right")); err != nil || !strings.Contains(out, "MB") {
		t.Fatalf("%s, %v", out, err)
	}
	sealed, err := os.ReadFile(at("file"))
	if err != nil || bytes.Contains(sealed, []byte("the body of")) {
		t.Fatalf("%d bytes, or in the clear: %v", len(sealed), err)
	}
	if err := os.WriteFile(at("cut"), sealed[:len(sealed)-40], 0o600); err != nil {
		t.Fatal(err)
	}
	restore := func(file, into, passphrase string) (string, error) {
		return call("restore", at(file), "--run-dir", place, "--data-dir", at(into), "--name", "n9", "--passphrase-file", at(passphrase))
	}

	if _, err := restore("file", "new", "wrong"); err == nil || !strings.Contains(err.Error(), "this key or passphrase does not open it") {
		t.Errorf("with a wrong passphrase: %v", err)
	}
	if _, err := os.Stat(at("new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a wrong passphrase left %v behind (%v)", contents(t, at("new")), err)
	}
	if _, err := restore("cut", "new", "right"); err == nil || gossip.Initialised(filepath.Join(at("new"), "mesh")) {
		t.Errorf("a file that was cut short began a mesh: %v", err)
	}
	if out, err := restore("file", "new", "right"); err != nil || !strings.Contains(out, "backup of n0") || !strings.Contains(out, "2 records") {
		t.Fatalf("%s, %v", out, err)
	}
	before := contents(t, at("new"))
	if _, err := restore("file", "new", "right"); err == nil || !strings.Contains(err.Error(), "belongs to a mesh already") {
		t.Errorf("into what belongs to a mesh: %v", err)
	}
	if after := contents(t, at("new")); !reflect.DeepEqual(before, after) {
		t.Error("what was refused changed the directory")
	}

	if got := before[filepath.Join(at("new"), "keyring.json")]; got != string(keyring) {
		t.Errorf("the keys of Secrets are %s", got)
	}
	first := running(t, filepath.Join(at("new"), "mesh"))
	if !reflect.DeepEqual(first.Keys(), lost.Keys()) || first.Self().ID == lost.Self().ID {
		t.Error("it is another mesh, or has the identity of the server that was lost")
	}
	for _, name := range []string{"one", "two"} {
		if o, _ := first.Store().Get(settingsMap(name)); o == nil || string(o.Bodies[store.Intent]) != "the body of "+name {
			t.Errorf("%s is restored as %+v", name, o)
		}
	}
}
