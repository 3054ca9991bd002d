package bed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Bed is a lab. It holds no state beside what it was asked for; its methods may be called from several processes.
type Bed struct {
	plan
	cfg    Config
	groups groups
	log    *slog.Logger
}

// New finds the lab of cfg, or describes one that Up is to build. It starts nothing.
func New(cfg Config) (*Bed, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	groups, err := findGroups()
	if err != nil {
		return nil, err
	}
	p := plan{dir: cfg.Dir, prefix: cfg.Prefix, net: cfg.Net, regions: cfg.Regions}
	return &Bed{plan: p, cfg: cfg, groups: groups, log: cfg.Log}, nil
}

// group is the cgroup of a place.
func (b *Bed) group(place string) string { return "lab/" + place }

// Hosts are the hosts that exist, powered or not, by number.
func (b *Bed) Hosts() ([]Host, error) { return b.hosts() }

// Host finds a host by its name or number.
func (b *Bed) Host(name string) (Host, error) { return b.find(name) }

// Path is a file in the directory of a host (or "client", "router"): its disk. Down removes it, a power cut does not.
func (b *Bed) Path(host string, elem ...string) (string, error) {
	place, err := b.place(host)
	return b.path(place, elem...), err
}

// Up builds what is missing of the lab and boots every host that is off. Calling it again is fine.
func (b *Bed) Up(ctx context.Context) error {
	if err := preflight(); err != nil {
		return err
	}
	if err := b.room(); err != nil {
		return err
	}
	unlock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := b.cfg.save(); err != nil {
		return fmt.Errorf("remember the shape of the lab: %w", err)
	}
	if err := b.raiseNetwork(); err != nil {
		return err
	}
	hosts, err := b.hosts()
	if err != nil {
		return err
	}
	for n := 1; n <= b.cfg.Hosts; n++ {
		if h := b.host(n); !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, h := range hosts {
		g.Go(func() error { return b.boot(ctx, h) })
	}
	return g.Wait()
}

// AddHost boots one more host, in the next region by turn.
func (b *Bed) AddHost(ctx context.Context) (Host, error) {
	unlock, err := b.lock(ctx)
	if err != nil {
		return Host{}, err
	}
	defer unlock()
	hosts, err := b.hosts()
	if err != nil {
		return Host{}, err
	}
	if len(hosts) == 0 {
		return Host{}, fmt.Errorf("add a host: no lab stands in %s, run `lab up`", b.dir)
	}
	n := hosts[len(hosts)-1].Number + 1
	if n > maxHosts {
		return Host{}, fmt.Errorf("add a host: there are %d already", maxHosts)
	}
	h := b.host(n)
	return h, b.boot(ctx, h)
}

// Down ends everything of the lab and removes every trace: processes, mounts, namespaces, cgroups, files. It goes by the names in
// the kernel and on disk, so it also clears away what a crash in the middle of Up or Down left.
func (b *Bed) Down(ctx context.Context) error {
	unlock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for range 5 { // what a killed builder had just started may still have finished behind our back
		places, err := b.traces()
		if err != nil {
			return err
		}
		if len(places) == 0 {
			break
		}
		g, ctx := errgroup.WithContext(ctx)
		for _, place := range places {
			g.Go(func() error { return b.erase(ctx, place) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return b.removeDir()
}

// erase removes all of one place, in the order in which things hold one another.
func (b *Bed) erase(ctx context.Context, place string) error {
	if err := b.groups.kill(ctx, b.group(place)); err != nil {
		return err
	}
	if n, ok := b.number(place); ok {
		h := b.host(n)
		if err := errors.Join(b.unplugAnywhere(h), b.wipe(h)); err != nil {
			return err
		}
	}
	err := errors.Join(
		b.groups.remove(ctx, b.group(place)),
		removeNamespace(place),
		unbind(b.path(place, "uts")),
		unmountBelow(b.path(place), ""),
	)
	if err != nil {
		return fmt.Errorf("erase %s: %w", place, err)
	}
	return os.RemoveAll(b.path(place))
}

// unplugAnywhere does not trust the plan: a lab with another number of regions may have died here.
func (b *Bed) unplugAnywhere(h Host) error {
	var errs []error
	for r := 1; r <= maxRegions; r++ {
		errs = append(errs, cable{sw: b.switchOf(r), port: b.port(h)}.unplug())
	}
	return errors.Join(errs...)
}

// traces are all names of this lab found in the kernel and on disk.
func (b *Bed) traces() ([]string, error) {
	dirs := []string{netnsDir, b.dir}
	for _, root := range b.groups.roots {
		dirs = append(dirs, filepath.Join(root, "lab"))
	}
	var names []string
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			return nil, fmt.Errorf("look for traces of the lab: %w", err)
		}
		for _, e := range entries {
			if _, ok := b.number(e.Name()); ok || b.infrastructure(e.Name()) {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// removeDir removes the files of the lab and, when nothing else is in it, the directory. The cgroup above the
// hosts' is shared by all labs and goes with the last.
func (b *Bed) removeDir() error {
	for _, root := range b.groups.roots {
		err := unix.Rmdir(filepath.Join(root, "lab"))
		if err != nil && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	for _, f := range []string{shapeFile, lockFile} {
		if err := ignoreAbsent(os.Remove(filepath.Join(b.dir, f))); err != nil {
			return err
		}
	}
	if err := ignoreAbsent(unix.Rmdir(b.dir)); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.EBUSY) {
		return err
	}
	return nil
}

const lockFile = "lock"

// lock keeps two processes from building or clearing at once; it ends with its process, however that ends.
func (b *Bed) lock(ctx context.Context) (unlock func(), err error) {
	if err := makeDirs(b.dir); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(b.dir, lockFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = poll(ctx, 60*time.Second, "lock (another process builds the lab or takes it down)", func() (bool, error) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return false, nil
		}
		return true, err
	})
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lab in %s: %w", b.dir, err)
	}
	return func() { f.Close() }, nil
}

// roomPercent is how much of the disk has to be free: hosts under a twentieth call themselves short of it, and take no pods.
const roomPercent = 6

// room tells when the disk, which all hosts share, is too full for what they are to do.
func (b *Bed) room() error {
	dir, st := b.cfg.Dir, unix.Statfs_t{}
	err := unix.Statfs(dir, &st)
	for ; errors.Is(err, unix.ENOENT) && dir != filepath.Dir(dir); err = unix.Statfs(dir, &st) {
		dir = filepath.Dir(dir)
	}
	if err != nil {
		return fmt.Errorf("look for free space in %s: %w", dir, err)
	}
	if st.Bavail*100 < st.Blocks*roomPercent {
		return fmt.Errorf("only %d MiB of %d are free on the disk of %s, less than %d %%: hosts of the lab would take no pods. Free some",
			st.Bavail*uint64(st.Bsize)>>20, st.Blocks*uint64(st.Bsize)>>20, b.cfg.Dir, roomPercent)
	}
	return nil
}

// preflight tells what is missing on this machine, all at once, and how to get it.
func preflight() error {
	if os.Geteuid() != 0 {
		return errors.New("the lab makes namespaces and cgroups: run it as root")
	}
	var missing []string
	for _, need := range []struct{ tool, pkg string }{
		{"dockerd", "docker.io"}, {"docker", "docker.io"}, {"containerd", "docker.io"}, {"runc", "docker.io"},
		{"ip", "iproute2"}, {"nft", "nftables"},
		{"nsenter", "util-linux"}, {"unshare", "util-linux"}, {"setsid", "util-linux"}, {"hostname", "hostname"},
	} {
		if !installed(need.tool) && !slices.Contains(missing, need.pkg) {
			missing = append(missing, need.pkg)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the lab needs programs that are not here: apt-get install -y %s", strings.Join(missing, " "))
	}
	return nil
}
