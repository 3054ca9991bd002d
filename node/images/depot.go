package images

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"
)

// Policy is a pod's imagePullPolicy.
type Policy string

const (
	Always       Policy = "Always"
	IfNotPresent Policy = "IfNotPresent"
	Never        Policy = "Never"
)

// Depot is one server's image room. Its methods may be called from any goroutine.
type Depot struct {
	engine  engine
	mesh    Mesh
	records Records
	log     *slog.Logger
	sends   chan struct{}

	mu      sync.Mutex // guards flights
	flights map[string]*flight
}

// flight is one fetch that several pods wait for.
type flight struct {
	done chan struct{}
	id   string
	err  error
}

// New makes the room and answers peers at once.
func New(c *client.Client, mesh Mesh, records Records, log *slog.Logger) *Depot {
	d := &Depot{engine: engine{c, &hearing{}}, mesh: mesh, records: records, log: log,
		sends: make(chan struct{}, sendsAtOnce), flights: map[string]*flight{}}
	d.serve()
	return d
}

// Ensure makes the image that ref means here present on the engine, and gives its ID. What the mesh remembers of a
// reference goes before what the engine has under that name; auth is the registry's X-Registry-Auth, or "". Errors are of
// the kinds above. Concurrent calls for one reference share one fetch.
func (d *Depot) Ensure(ctx context.Context, ref string, policy Policy, auth string) (string, error) {
	name, err := Normalise(ref)
	if err != nil {
		return "", err
	}
	if id, ok := d.present(ctx, name, policy); ok {
		return id, nil
	}
	if policy == Never {
		return "", fmt.Errorf("%s: %w", ref, ErrImageNever)
	}
	d.mu.Lock()
	f, running := d.flights[name+"\x00"+auth]
	if !running {
		f = &flight{done: make(chan struct{})}
		d.flights[name+"\x00"+auth] = f
		go d.fly(context.WithoutCancel(ctx), f, name, auth)
	}
	d.mu.Unlock()
	select {
	case <-f.done:
		return f.id, f.err
	case <-ctx.Done():
		return "", fmt.Errorf("wait for image %s: %w", ref, ctx.Err())
	}
}

func (d *Depot) fly(ctx context.Context, f *flight, name, auth string) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	f.id, f.err = d.obtain(ctx, name, auth)
	d.mu.Lock()
	delete(d.flights, name+"\x00"+auth)
	d.mu.Unlock()
	close(f.done)
}

// present tells whether the engine has what ref means already, so that nothing needs to be fetched.
func (d *Depot) present(ctx context.Context, name string, policy Policy) (string, bool) {
	if rec, ok := lookup(d.records, name); ok {
		id, err := d.engine.imageID(ctx, rec.ID)
		if err != nil {
			return "", false
		}
		if under, err := d.engine.imageID(ctx, name); err != nil || under != id {
			if err := d.engine.tag(ctx, id, name); err != nil {
				d.log.Warn("image not tagged", "image", name, "error", err)
			}
		}
		return id, true
	}
	if policy == Always {
		return "", false
	}
	id, err := d.engine.imageID(ctx, name)
	return id, err == nil
}

// Known is what this server knows of ref without asking anybody, "" for nothing: it changes when the image is loaded or
// pulled here, or shared anywhere in the mesh. Only compare it.
func (d *Depot) Known(ctx context.Context, ref string) string {
	name, err := Normalise(ref)
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	rec, _ := lookup(d.records, name)
	here, err := d.engine.imageID(ctx, cmp.Or(rec.ID, name))
	if err != nil {
		here = ""
	}
	if rec.ID == "" {
		return here
	}
	return rec.ID + " " + here
}

func (d *Depot) obtain(ctx context.Context, name, auth string) (string, error) {
	if rec, ok := lookup(d.records, name); ok {
		id, err := d.fromPeers(ctx, question{ID: rec.ID})
		if err == nil {
			return id, d.engine.tag(ctx, id, name)
		}
		return "", fmt.Errorf("image %s (%s), loaded on %s: %w", name, short(rec.ID), rec.By, kinded(err))
	}
	pullErr := d.engine.pull(ctx, name, auth)
	if pullErr == nil {
		return d.engine.imageID(ctx, name)
	}
	pullErr = classify(name, pullErr)
	if errors.Is(pullErr, ErrImageDenied) && auth != "" {
		return "", pullErr
	}
	id, err := d.fromPeers(ctx, question{Ref: name})
	if err != nil {
		return "", pullErr
	}
	return id, d.engine.tag(ctx, id, name)
}

// kinded makes sure that err carries one of this package's kinds.
func kinded(err error) error {
	for _, k := range []error{ErrImageNotFound, ErrImageDenied, ErrImageRateLimited, ErrWrongImage} {
		if errors.Is(err, k) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrImagePull, err)
}

func short(id string) string {
	return strings.TrimPrefix(id, "sha256:")[:min(12, len(strings.TrimPrefix(id, "sha256:")))]
}

var loadedLine = regexp.MustCompile(`Loaded image(?: ID)?: (\S+)`)

// Load feeds a docker-save archive to the engine and remembers every reference in it for the whole mesh.
func (d *Depot) Load(ctx context.Context, archive io.Reader) ([]Record, error) {
	said, err := d.engine.loadNamed(ctx, archive)
	if err != nil {
		return nil, err
	}
	var out []Record
	for _, line := range said {
		for _, m := range loadedLine.FindAllStringSubmatch(line, -1) {
			if strings.HasPrefix(m[1], "sha256:") {
				continue
			}
			rec, err := d.Remember(ctx, m[1])
			if err != nil {
				return out, err
			}
			out = append(out, rec)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("the archive names no image: save it by reference (docker save NAME:TAG), not by ID")
	}
	return out, nil
}

// Remember makes the engine's present image under ref what ref means in the whole mesh.
func (d *Depot) Remember(ctx context.Context, ref string) (Record, error) {
	name, err := Normalise(ref)
	if err != nil {
		return Record{}, err
	}
	res, err := d.engine.c.ImageInspect(ctx, name)
	if err != nil {
		return Record{}, fmt.Errorf("inspect %s: %w", ref, err)
	}
	rec := Record{Ref: name, ID: res.ID, Size: res.Size, By: d.mesh.Self().Name, Created: time.Now().UTC()}
	return rec, remember(ctx, d.records, rec)
}

// List gives every reference that the mesh remembers, sorted by reference.
func (d *Depot) List() ([]Record, error) {
	out, err := records(d.records)
	slices.SortFunc(out, func(a, b Record) int { return strings.Compare(a.Ref, b.Ref) })
	return out, err
}
