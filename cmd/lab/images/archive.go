package images

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"
)

// archive writes a root file system as a tar. The same files give the same bytes, so that a layer built twice is one layer.
type archive struct {
	w    *tar.Writer
	dirs map[string]bool
}

func newArchive(w io.Writer) *archive {
	return &archive{w: tar.NewWriter(w), dirs: map[string]bool{".": true}}
}

func (a *archive) close() error { return a.w.Close() }

func (a *archive) add(h tar.Header, content io.Reader) error {
	h.Name = strings.TrimPrefix(h.Name, "/")
	if err := a.parents(strings.TrimSuffix(h.Name, "/")); err != nil {
		return err
	}
	h.ModTime, h.Format = time.Unix(0, 0), tar.FormatPAX
	if err := a.w.WriteHeader(&h); err != nil {
		return fmt.Errorf("add %s: %w", h.Name, err)
	}
	if content == nil {
		return nil
	}
	if _, err := io.Copy(a.w, content); err != nil {
		return fmt.Errorf("add %s: %w", h.Name, err)
	}
	return nil
}

// parents adds the directories above a name that are not there yet.
func (a *archive) parents(name string) error {
	dir := path.Dir(name)
	if a.dirs[dir] {
		return nil
	}
	return a.dir(dir, 0o755, 0)
}

func (a *archive) dir(name string, mode int64, owner int) error {
	name = strings.TrimPrefix(name, "/")
	if a.dirs[name] {
		return nil
	}
	err := a.add(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Uid: owner, Gid: owner}, nil)
	a.dirs[name] = true
	return err
}

func (a *archive) text(name, content string) error {
	return a.add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}, strings.NewReader(content))
}

func (a *archive) link(name, to string) error {
	return a.add(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, nil)
}

// file copies a file of this machine; links are followed.
func (a *archive) file(from, name string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(info.Mode().Perm()), Size: info.Size()}
	return a.add(h, f)
}

// base is what programs expect of any system.
func (a *archive) base(users string) error {
	if err := a.dir("tmp", 0o1777, 0); err != nil {
		return err
	}
	if err := a.text("etc/passwd", "root:x:0:0:root:/:/bin/sh\n"+users); err != nil {
		return err
	}
	return a.text("etc/nsswitch.conf", "hosts: files dns\n")
}
