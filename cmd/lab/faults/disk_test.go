package faults

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// corrupt: a database with garbage in its middle is moved aside and rebuilt from the peers, and the server writes on.
func corrupt(l lab) {
	for i := range 3 {
		l.apply("x2", fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: page-%d}\ndata: {text: %q}\n", i, strings.Repeat("o", 2000)))
	}
	l.calm()
	names := l.kubectl("x2", "get", "configmaps,secrets,pods", "-o", "name")
	before := l.processes("x2")
	l.check(l.m.Stop(l.ctx, "x2"))
	l.check(garble(l.database("x2")))
	l.check(l.m.Up(l.ctx, "x2", ""))
	l.says("x2", "! replica: the database was corrupt", "store.db.corrupt-", "rebuilt from peers", "remove that file")
	l.calm()
	if now := l.kubectl("x2", "get", "configmaps,secrets,pods", "-o", "name"); now != names {
		l.t.Errorf("objects were\n%s\nand are\n%s", names, now)
	}
	if after := l.processes("x2"); after != before {
		l.t.Errorf("containers changed:\n%s\nthen\n%s", before, after)
	}
	for i := range 10 { // a server that forgot how far it had counted must not count the same again
		l.kubectl("x2", "create", "configmap", fmt.Sprintf("reborn-%d", i))
	}
	l.calm()
	for _, h := range hosts {
		for i := range 10 {
			l.kubectl(h, "get", "configmap", fmt.Sprintf("reborn-%d", i))
		}
	}
}

func (l lab) database(host string) (path string) {
	l.t.Helper()
	err := filepath.WalkDir(l.path(host, "orpheus"), func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "store.db" {
			path = p
		}
		return nil
	})
	l.check(err)
	if path == "" {
		l.t.Fatalf("no database on %s", host)
	}
	return path
}

// garble overwrites the second and third quarter of a file.
func garble(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	s, err := f.Stat()
	if err != nil {
		return err
	}
	garbage := make([]byte, s.Size()/2)
	if _, err := rand.Read(garbage); err != nil {
		return err
	}
	_, err = f.WriteAt(garbage, s.Size()/4)
	return err
}

// fullDisk: a server whose disk is full refuses writes with the reason; reads and pods go on, and it recovers by itself.
func fullDisk(l lab) {
	before := l.processes("x2")
	dir := l.path("x2", "orpheus")
	l.check(l.m.Stop(l.ctx, "x2"))
	l.check(onSmallDisk(dir))
	l.check(l.m.Up(l.ctx, "x2", ""))
	l.calm()
	l.apply("x2", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: while-there-was-room}\n")
	l.check(fill(filepath.Join(dir, "filler")))

	var acknowledged []string
	var refusal error
	for i := range 400 { // the database has some free pages of its own
		name := fmt.Sprintf("filling-%d", i)
		yaml := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {text: %q}\n", name, strings.Repeat("x", 100_000))
		if refusal = l.m.Apply(l.ctx, "x2", yaml); refusal != nil {
			break
		}
		acknowledged = append(acknowledged, name)
	}
	if refusal == nil || contains(refusal.Error(), "no space left on device") != nil {
		l.t.Errorf("kubectl shows %v, want the reason", refusal)
	}
	l.says("x2", "! replica", "no space left on device", "free space on the data directory")
	l.kubectl("x2", "get", "configmap", "while-there-was-room")
	if now := l.processes("x2"); now != before {
		l.t.Errorf("containers changed:\n%s\nthen\n%s", before, now)
	}
	for i := range 20 { // elsewhere people work on, or are told why not
		name := fmt.Sprintf("elsewhere-%d", i)
		if _, err := l.m.Kubectl(l.ctx, "x1", "create", "configmap", name); err == nil {
			acknowledged = append(acknowledged, name)
		} else if contains(err.Error(), "no space left on device") != nil {
			l.t.Errorf("on x1 kubectl shows %v", err)
		}
	}
	l.t.Logf("%d writes acknowledged while the disk was full", len(acknowledged))
	l.check(os.Remove(filepath.Join(dir, "filler")))
	l.soon("x2 takes writes again", func() error {
		_, err := l.m.Kubectl(l.ctx, "x2", "create", "configmap", "room-again")
		return err
	})
	l.calm()
	for _, h := range hosts {
		have := l.kubectl(h, "get", "configmaps", "-o", "name") + "\n"
		for _, name := range append(acknowledged, "while-there-was-room", "room-again") {
			if !strings.Contains(have, "/"+name+"\n") {
				l.t.Errorf("%s was acknowledged and is not on %s", name, h)
			}
		}
	}
	if now := l.processes("x2"); now != before {
		l.t.Errorf("containers changed:\n%s\nthen\n%s", before, now)
	}
	if err := contains(l.status("x2"), "no space left"); err == nil {
		l.t.Error("status still speaks of a full disk")
	}
	l.kubectl("x1", "delete", "configmap", "--all", "--wait=false")
}

// onSmallDisk moves a directory to a file system of 64 MiB in memory, which Down unmounts.
func onSmallDisk(dir string) error {
	if err := os.Rename(dir, dir+".disk"); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m,mode=0700"); err != nil {
		return fmt.Errorf("mount a small disk: %w", err)
	}
	if out, err := exec.Command("cp", "-ax", dir+".disk/.", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("copy to the small disk: %w: %s", err, out)
	}
	return nil
}

// fill writes until there is no room.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for piece := make([]byte, 4096); ; {
		if _, err := f.Write(piece); errors.Is(err, unix.ENOSPC) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
