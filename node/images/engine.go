package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/moby/moby/client"
)

// engine is the local Docker Engine as this room needs it.
type engine struct {
	c     *client.Client
	pulls *hearing
}

// imageID is the ID of what name (a reference or an ID) means to the engine.
func (e engine) imageID(ctx context.Context, name string) (string, error) {
	res, err := e.c.ImageInspect(ctx, name)
	if err != nil {
		return "", err
	}
	return res.ID, nil
}

func (e engine) save(ctx context.Context, name string) (io.ReadCloser, error) {
	return e.c.ImageSave(ctx, []string{name})
}

// load feeds an archive to the engine and reports what the engine says only at the end of its answer.
func (e engine) load(ctx context.Context, archive io.Reader) error {
	_, err := e.loadNamed(ctx, archive)
	return err
}

func (e engine) loadNamed(ctx context.Context, archive io.Reader) (said []string, err error) {
	res, err := e.c.ImageLoad(ctx, archive, client.ImageLoadWithQuiet(true))
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	defer res.Close()
	dec := json.NewDecoder(res)
	for {
		var m struct{ Stream, Error string }
		switch err := dec.Decode(&m); {
		case errors.Is(err, io.EOF):
			return said, nil
		case err != nil:
			return said, fmt.Errorf("load: %w", err)
		case m.Error != "":
			return said, fmt.Errorf("load: %s", m.Error)
		}
		said = append(said, m.Stream)
	}
}

func (e engine) tag(ctx context.Context, id, ref string) error {
	_, err := e.c.ImageTag(ctx, client.ImageTagOptions{Source: id, Target: ref})
	return err
}

// pull ends early when nothing is heard of it for silenceMost. Engines answer only when the registry has.
func (e engine) pull(ctx context.Context, ref, auth string) error {
	return e.pulls.attend(ctx, func(ctx context.Context, heard func(string)) error {
		res, err := e.c.ImagePull(ctx, ref, client.ImagePullOptions{RegistryAuth: auth})
		if err != nil {
			return err
		}
		defer res.Close()
		for m, err := range res.JSONMessages(ctx) {
			switch {
			case err != nil:
				return err
			case m.Error != nil:
				return m.Error
			}
			heard(m.Status)
		}
		return nil
	})
}
