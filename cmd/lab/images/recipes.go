package images

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// busybox is Debian's static busybox under all its names.
func busybox(ctx context.Context, a *archive) error {
	bin, err := program("busybox", "busybox-static")
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "ldd", bin).CombinedOutput(); err == nil {
		return fmt.Errorf("%s is not static (%s): apt-get install busybox-static", bin, strings.TrimSpace(string(out)))
	}
	if err := a.base("nobody:x:65534:65534:nobody:/:/bin/sh\n"); err != nil {
		return err
	}
	if err := a.file(bin, "bin/busybox"); err != nil {
		return err
	}
	applets, err := output(ctx, nil, bin, "--list")
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(applets)) {
		if name == "busybox" {
			continue
		}
		if err := a.link("bin/"+name, "busybox"); err != nil {
			return err
		}
	}
	return nil
}

// redisConf lets any user of the network in who knows the password (see the demonstration's arguments), and keeps what was acknowledged.
const redisConf = `bind * -::*
protected-mode no
port 6379
dir /data
appendonly yes
appendfsync everysec
save ""
daemonize no
logfile ""
`

// redis is Debian's Redis with the libraries that it is linked to, for user 999.
func redis(ctx context.Context, a *archive) error {
	if err := a.base("redis:x:999:999:redis:/data:/bin/sh\n"); err != nil {
		return err
	}
	if err := a.dir("data", 0o755, 999); err != nil {
		return err
	}
	if err := a.text("etc/redis/redis.conf", redisConf); err != nil {
		return err
	}
	added := map[string]bool{}
	for tool, pkg := range map[string]string{"redis-server": "redis-server", "redis-cli": "redis-tools"} {
		bin, err := program(tool, pkg)
		if err != nil {
			return err
		}
		// The link's own name matters: the same program is also redis-check-aof.
		if err := a.file(bin, "bin/"+tool); err != nil {
			return err
		}
		libs, err := libraries(ctx, bin)
		if err != nil {
			return err
		}
		for _, lib := range libs {
			if added[lib] {
				continue
			}
			added[lib] = true
			if err := a.file(lib, lib); err != nil {
				return err
			}
		}
	}
	return nil
}

// libraries are the files that the dynamic linker would load, the linker itself included.
func libraries(ctx context.Context, bin string) ([]string, error) {
	out, err := output(ctx, nil, "ldd", bin)
	if err != nil {
		return nil, err
	}
	var libs []string
	for line := range strings.Lines(string(out)) {
		_, right, found := strings.Cut(line, "=>")
		if !found {
			right = line
		}
		if strings.Contains(right, "not found") {
			return nil, fmt.Errorf("library of %s: %s", bin, strings.TrimSpace(line))
		}
		if f := strings.Fields(right); len(f) > 0 && filepath.IsAbs(f[0]) {
			libs = append(libs, f[0])
		}
	}
	return libs, nil
}

// todo is our own application, static: one file. Its versions share the layer and differ by environment.
func todo(ctx context.Context, a *archive) error {
	dir, err := os.MkdirTemp("", "todo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "todo")
	_, err = output(ctx, []string{"CGO_ENABLED=0"}, "go", "build", "-trimpath", "-ldflags", "-s -w -buildid=", "-o", bin, "github.com/orpheus-mesh/orpheus/cmd/lab/todo")
	if err != nil {
		return err
	}
	if err := a.base("todo:x:65532:65532:todo:/:/todo\n"); err != nil {
		return err
	}
	return a.file(bin, "todo")
}

func program(name, pkg string) (string, error) {
	bin, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%w: apt-get install %s", err, pkg)
	}
	return bin, nil
}
