package bed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// groups is the machine's cgroup tree, of version 1 (one hierarchy a controller) or 2 (one for all).
type groups struct {
	roots []string // hierarchies in which every process of a place is entered
	v2    bool
}

func findGroups() (groups, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &st); err != nil {
		return groups{}, fmt.Errorf("cgroups: %w", err)
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		return groups{roots: []string{cgroupRoot}, v2: true}, nil
	}
	g := groups{}
	for _, c := range []string{"freezer", "cpuacct", "cpu", "memory", "pids"} {
		dir := filepath.Join(cgroupRoot, c)
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err != nil {
			return g, fmt.Errorf("cgroup hierarchy %s is not mounted: %w", c, err)
		}
		g.roots = append(g.roots, dir)
	}
	return g, nil
}

// freezer is the hierarchy that is asked which processes a place has.
func (g groups) freezer() string { return g.roots[0] }

// create makes the group and below it "sys", where daemons go; engines put containers into "pods" beside it.
func (g groups) create(group string) error {
	for _, root := range g.roots {
		if err := makeDirs(filepath.Join(root, group, "sys")); err != nil {
			return fmt.Errorf("make cgroup: %w", err)
		}
	}
	if !g.v2 {
		return nil
	}
	for dir := group; ; dir = filepath.Dir(dir) { // version 2: every group above must hand its controllers down
		file := filepath.Join(cgroupRoot, dir, "cgroup.subtree_control")
		if err := os.WriteFile(file, []byte("+cpu +memory +pids"), 0o644); err != nil {
			return fmt.Errorf("hand down controllers: %w", err)
		}
		if dir == "." {
			return nil
		}
	}
}

// entrances are the files to which a process writes its number to enter the group.
func (g groups) entrances(group string) []string {
	var files []string
	for _, root := range g.roots {
		files = append(files, filepath.Join(root, group, "sys", "cgroup.procs"))
	}
	return files
}

// processes are all in the group and below; none when there is no such group.
func (g groups) processes(group string) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(filepath.Join(g.freezer(), group), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return ignoreAbsent(err)
		}
		b, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for _, f := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return ignoreAbsent(err)
	})
	return pids, err
}

// ignoreAbsent also takes ENODEV, which a group that is just being removed answers.
func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// freeze stops every process of the group, or lets all go on, and waits until that is so (at most 5 s).
func (g groups) freeze(ctx context.Context, group string, frozen bool) error {
	file, on, off := filepath.Join(g.freezer(), group, "freezer.state"), "FROZEN", "THAWED"
	if g.v2 {
		file, on, off = filepath.Join(g.freezer(), group, "cgroup.freeze"), "1", "0"
	}
	want := off
	if frozen {
		want = on
	}
	return poll(ctx, 5*time.Second, "cgroup "+group+" "+want, func() (bool, error) {
		// The state is written again each time: version 1 stops trying when a process could not be frozen at once.
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			return false, err
		}
		is, err := g.frozen(group)
		return is == frozen, err
	})
}

func (g groups) frozen(group string) (bool, error) {
	if g.v2 {
		b, err := os.ReadFile(filepath.Join(g.freezer(), group, "cgroup.events"))
		return strings.Contains(string(b), "frozen 1"), ignoreAbsent(err)
	}
	b, err := os.ReadFile(filepath.Join(g.freezer(), group, "freezer.state"))
	return strings.TrimSpace(string(b)) == "FROZEN", ignoreAbsent(err)
}

// kill ends every process of the group at one moment: first nobody can move, then all are dead. Nothing reacts to the
// death of anything else, as in a power cut. It returns when none is left.
func (g groups) kill(ctx context.Context, group string) error {
	if pids, err := g.processes(group); err != nil || len(pids) == 0 {
		return err
	}
	freezing := g.freeze(ctx, group, true) // when it cannot be had, killing is still what the caller wants
	err := poll(ctx, 15*time.Second, "end of all processes in cgroup "+group, func() (bool, error) {
		pids, err := g.processes(group)
		if err != nil || len(pids) == 0 {
			return true, err
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return false, fmt.Errorf("kill %d: %w", pid, err)
			}
		}
		return false, g.thawAll(group)
	})
	if err != nil {
		return errors.Join(err, freezing)
	}
	return nil
}

// thawAll also lets go what was frozen on its own below the group (a paused container): version 1 does not let a
// frozen process die.
func (g groups) thawAll(group string) error {
	if g.v2 {
		return nil
	}
	return filepath.WalkDir(filepath.Join(g.freezer(), group), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return ignoreAbsent(err)
		}
		return ignoreAbsent(os.WriteFile(filepath.Join(path, "freezer.state"), []byte("THAWED"), 0o644))
	})
}

// remove deletes the group, and kills what is still in it.
func (g groups) remove(ctx context.Context, group string) error {
	for _, root := range g.roots {
		var dirs []string
		err := filepath.WalkDir(filepath.Join(root, group), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return ignoreAbsent(err)
		})
		if err != nil {
			return err
		}
		slices.Reverse(dirs) // children were walked after their parents
		for _, dir := range dirs {
			// A group is busy while its last process is not fully gone, or when one has entered after the killing.
			err := poll(ctx, 10*time.Second, "removal of "+dir, func() (bool, error) {
				err := unix.Rmdir(dir)
				if errors.Is(err, unix.EBUSY) {
					return false, g.kill(ctx, group)
				}
				return true, ignoreAbsent(err)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// usage is what the group has used: resident memory in bytes now, processor time since the group exists.
func (g groups) usage(group string) (resident uint64, cpu time.Duration, err error) {
	if g.v2 {
		dir := filepath.Join(cgroupRoot, group)
		resident, err1 := statField(filepath.Join(dir, "memory.stat"), "anon")
		micros, err2 := statField(filepath.Join(dir, "cpu.stat"), "usage_usec")
		return resident, time.Duration(micros) * time.Microsecond, errors.Join(err1, err2)
	}
	resident, err1 := statField(filepath.Join(cgroupRoot, "memory", group, "memory.stat"), "total_rss")
	nanos, err2 := statField(filepath.Join(cgroupRoot, "cpuacct", group, "cpuacct.usage"), "")
	return resident, time.Duration(nanos), errors.Join(err1, err2)
}

// statField reads the number behind a key, or the only number of the file when the key is empty.
func statField(file, key string) (uint64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if key == "" && len(f) == 1 || len(f) == 2 && f[0] == key {
			return strconv.ParseUint(f[len(f)-1], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: no field %q", file, key)
}
