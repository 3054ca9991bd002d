package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/moby/moby/client"
)

// Image is what pods need to know of an image.
type Image struct {
	ID      string
	Names   []string // references by tag and by digest
	Size    int64    // bytes
	User    string   // whom its process runs as: "", "name", "uid" or "uid:gid"
	Created int64    // Unix seconds
}

// Image looks an image up by reference or ID.
func (e *Engine) Image(ctx context.Context, ref string) (Image, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := e.c.ImageInspect(ctx, ref)
	if err != nil {
		return Image{}, fmt.Errorf("inspect image %s: %w", ref, err)
	}
	img := Image{ID: res.ID, Names: append(res.RepoTags, res.RepoDigests...), Size: res.Size}
	if res.Config != nil {
		img.User = res.Config.User
	}
	return img, nil
}

// Images lists the images that have a name.
func (e *Engine) Images(ctx context.Context) ([]Image, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := e.c.ImageList(ctx, client.ImageListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var out []Image
	for _, s := range res.Items {
		if len(s.RepoTags)+len(s.RepoDigests) > 0 {
			out = append(out, Image{ID: s.ID, Names: append(s.RepoTags, s.RepoDigests...), Size: s.Size, Created: s.Created})
		}
	}
	return out, nil
}

// PauseImage is the reference under which EnsurePause keeps its image.
const PauseImage = "orpheus/pause:1"

// EnsurePause makes sure that the engine has the image of the process that holds a pod's namespaces open, and gives its ID.
// The image is one file of about 180 bytes (see pauseELF), imported: it needs no registry.
func (e *Engine) EnsurePause(ctx context.Context) (string, error) {
	img, err := e.Image(ctx, PauseImage)
	if err == nil {
		return img.ID, nil
	}
	if !IsNotFound(err) {
		return "", err
	}
	info, err := e.Info(ctx)
	if err != nil {
		return "", err
	}
	exe, err := pauseELF(info.Arch)
	if err != nil {
		return "", err
	}
	if err := e.importFile(ctx, PauseImage, "pause", exe); err != nil {
		return "", err
	}
	img, err = e.Image(ctx, PauseImage)
	return img.ID, err
}

// importFile makes an image that holds one executable and runs it.
func (e *Engine) importFile(ctx context.Context, ref, name string, exe []byte) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(exe))}), write(w, exe), w.Close()); err != nil {
		return fmt.Errorf("pack image %s: %w", ref, err)
	}
	res, err := e.c.ImageImport(ctx, client.ImageImportSource{Source: &b, SourceName: "-"}, ref,
		client.ImageImportOptions{Changes: []string{`ENTRYPOINT ["/` + name + `"]`}})
	if err != nil {
		return fmt.Errorf("import image %s: %w", ref, err)
	}
	defer res.Close()
	return importAnswer(ref, res)
}

func write(w io.Writer, b []byte) error {
	_, err := w.Write(b)
	return err
}

// importAnswer reads the engine's answer to its end: it reports errors only there.
func importAnswer(ref string, r io.Reader) error {
	dec := json.NewDecoder(r)
	for {
		var m struct{ Error string }
		err := dec.Decode(&m)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("import image %s: %w", ref, err)
		case m.Error != "":
			return fmt.Errorf("import image %s: %s", ref, m.Error)
		}
	}
}
