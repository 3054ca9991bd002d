// Package images builds the images that tests and the demonstration run, without any registry: from programs that are on this
// machine, and from our own source. An image is a tar of the few files that its program needs, imported into an engine.
package images

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// The images. Tags are explicit: ":latest" would make Kubernetes ask a registry each time.
const (
	Busybox    = "busybox:1"
	Redis      = "redis:7"
	FrontendV1 = "todo-frontend:v1"
	FrontendV2 = "todo-frontend:v2"
	BackendV1  = "todo-backend:v1"
	BackendV2  = "todo-backend:v2"
)

// recipe is how an image is made: its files, and what `docker import --change` is told.
type recipe struct {
	files   func(ctx context.Context, a *archive) error
	changes []string
}

func recipes() map[string]recipe {
	all := map[string]recipe{
		Busybox: {busybox, []string{`CMD ["sh"]`, "ENV PATH=/bin"}},
		Redis: {redis, []string{
			`CMD ["redis-server", "/etc/redis/redis.conf"]`, "ENV PATH=/bin", "USER 999:999", "WORKDIR /data", "EXPOSE 6379",
		}},
	}
	for ref, tier := range map[string]string{FrontendV1: "frontend", FrontendV2: "frontend", BackendV1: "backend", BackendV2: "backend"} {
		_, version, _ := strings.Cut(ref, ":")
		all[ref] = recipe{todo, []string{
			fmt.Sprintf(`ENTRYPOINT ["/todo", %q]`, tier), "ENV TODO_VERSION=" + version, "USER 65532:65532", "EXPOSE 8080",
		}}
	}
	return all
}

// Names are all images that Build can make, sorted.
func Names() []string { return slices.Sorted(maps.Keys(recipes())) }

// Build makes the named images, or all when none is named, in the engine at dockerHost (as in unix:///run/docker.sock). An image that is
// there already is made anew. The to-do application is compiled, which needs the Go toolchain and a working directory within
// this module.
func Build(ctx context.Context, dockerHost string, which ...string) error {
	if len(which) == 0 {
		which = Names()
	}
	all := recipes()
	for _, ref := range which {
		r, ok := all[ref]
		if !ok {
			return fmt.Errorf("no recipe for image %q, there are %s", ref, strings.Join(Names(), ", "))
		}
		if err := build(ctx, dockerHost, ref, r); err != nil {
			return fmt.Errorf("build image %s: %w", ref, err)
		}
	}
	return nil
}

func build(ctx context.Context, dockerHost, ref string, r recipe) (err error) {
	file, err := os.CreateTemp("", "image-*.tar")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	a := newArchive(file)
	if err := r.files(ctx, a); err != nil {
		return err
	}
	if err := a.close(); err != nil {
		return err
	}
	args := []string{"-H", dockerHost, "import"}
	for _, c := range r.changes {
		args = append(args, "--change", c)
	}
	_, err = output(ctx, nil, "docker", append(args, file.Name(), ref)...)
	return err
}

// output runs a program; the error carries what it said.
func output(ctx context.Context, env []string, argv0 string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv0, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s: %w: %s", argv0, err, strings.TrimSpace(string(exit.Stderr)))
	}
	return out, err
}

// FromDockerfile builds the local stage of this project's Dockerfile, which needs no registry: root is the checkout, with bin/orpheus built.
func FromDockerfile(ctx context.Context, dockerHost, root, ref string) error {
	// The engine's own builder: the newer one is a plugin that is not everywhere.
	_, err := output(ctx, []string{"DOCKER_BUILDKIT=0"}, "docker", "-H", dockerHost, "build", "--quiet", "--target", "local", "--tag", ref, root)
	if err != nil {
		return fmt.Errorf("build image %s: %w", ref, err)
	}
	return nil
}
