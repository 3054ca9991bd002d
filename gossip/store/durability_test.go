package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// tasks are what a process of its own does, named by STORE_TASK, in the directory STORE_DIR.
var tasks = map[string]func(dir string){"fsync": taskFsync, "poison": taskPoison}

// perform runs a task in a process of its own and returns what it printed and whether it ended well.
func perform(t *testing.T, task, dir string, env ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(append(os.Environ(), "STORE_TASK="+task, "STORE_DIR="+dir), env...)
	out, err := cmd.Output()
	return string(out), err
}

// failSyncs makes fsync and fdatasync of this whole process fail with EIO, in the kernel, as a broken disk does.
func failSyncs() error {
	ret := func(v uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: v} }
	is := func(nr uint32, yes uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: yes, K: nr}
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the system call
		is(unix.SYS_FSYNC, 2), is(unix.SYS_FDATASYNC, 1), ret(unix.SECCOMP_RET_ALLOW), ret(unix.SECCOMP_RET_ERRNO | uint32(unix.EIO)),
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	return nil
}

func taskFsync(dir string) {
	s, err := Open(newMesh().config("a", dir))
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	for !s.running.Load() {
		time.Sleep(time.Millisecond)
	}
	write := func(name string) {
		if _, err := s.Write(context.Background(), Write{Key: pod(name), Body: []byte(name)}); err != nil {
			fmt.Println("refused", name, err)
		} else {
			fmt.Println("acknowledged", name)
		}
	}
	write("before")
	if err := failSyncs(); err != nil {
		fmt.Println("cannot", err)
		return
	}
	write("during")
	fmt.Println("ended", <-done)
	os.Exit(3)
}

// TestFailedSyncEndsTheProcess: after a failed fsync nobody knows what is on the disk, and the kernel may say yes to the next one
// though the pages are gone (as PostgreSQL learned in 2018). So Run ends and nothing is retried.
func TestFailedSyncEndsTheProcess(t *testing.T) {
	dir := t.TempDir()
	out, err := perform(t, "fsync", dir)
	if strings.Contains(out, "cannot") {
		t.Skipf("the kernel takes no filter here: %s", out)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(out, "acknowledged before\nrefused during") || !strings.Contains(out, "input/output error") {
		t.Fatalf("%v: %s", err, out)
	}
	s := start(t, newMesh().config("a", dir))
	if get(s, pod("before")) == nil {
		t.Fatal("what was acknowledged before is lost")
	}
}

// killers: merging an object of this kind ends the process, as a bug in a rule would.
func killers(k Key) Class {
	if k.Kind == "core/killers" {
		panic("a bug that one record brings about")
	}
	return classes(k)
}

func poisonFrame(t testing.TB) []byte {
	var recs []*Record
	for i, k := range []Key{pod("one"), {"core/killers", "default", "x"}, pod("two")} {
		r := &Record{Key: k, Root: k, UID: newUID(k, nil, nil), Dot: Dot{"b", uint64(i + 1)}, Stamp: stampOf0(1_700_000_000_000) + Stamp(i), Body: []byte("x")}
		if err := r.seal(newMesh().config("b", "").Sign); err != nil {
			t.Fatal(err)
		}
		recs = append(recs, r)
	}
	return encodeFrame(recs)
}

// taskPoison receives the frame in the file "frame" and says what came of it.
func taskPoison(dir string) {
	cfg := newMesh().config("a", dir)
	cfg.Class = killers
	s, err := Open(cfg)
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(s.Run(context.Background())) }()
	for !s.running.Load() {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("skipped", len(s.Poisoned()))
	frame, err := os.ReadFile(filepath.Join(dir, "frame"))
	if err == nil {
		err = s.Receive("b", frame)
	}
	if err == nil {
		_, err = s.Write(context.Background(), Write{Key: pod("after"), Body: []byte("x"), Generated: true})
	}
	if err != nil && !errors.Is(err, ErrExists) {
		log.Fatal(err)
	}
	fmt.Println("alive", get(s, pod("one")) != nil, get(s, pod("two")) != nil)
}

// TestARecordThatKillsTheProcessIsSkipped: it came with others, so the second death finds out which it was; from the third
// start on the server lives with the others and without it.
func TestARecordThatKillsTheProcessIsSkipped(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "frame"), poisonFrame(t), 0o600); err != nil {
		t.Fatal(err)
	}
	for life, want := range []string{"skipped 0\n", "skipped 0\n", "skipped 1\nalive true true\n"} {
		out, err := perform(t, "poison", dir)
		if (err == nil) != (life == 2) || out != want {
			t.Fatalf("life %d: %v, said %q, want %q", life, err, out, want)
		}
	}
}

func TestPoisonServesItsTerm(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	r := specimens(t)[0]
	die := func(dir string, at time.Time) *poison {
		t.Helper()
		d, _, _, _, err := openDisk(dir, at)
		if err != nil {
			t.Fatal(err)
		}
		defer d.db.Close()
		p, err := openPoison(dir, d, at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.close)
		return p
	}
	dir := t.TempDir()
	die(dir, now).begin([]*Record{r}) // and the process ends here
	p := die(dir, now)
	if !p.skips(r.hash, now.Add(59*time.Minute)) || p.skips(r.hash, now.Add(61*time.Minute)) {
		t.Error("after one death it is skipped for an hour")
	}
	p.begin([]*Record{r})
	p = die(dir, now)
	if !p.skips(r.hash, now.Add(23*time.Hour)) || p.skips(r.hash, now.Add(25*time.Hour)) {
		t.Error("after two for a day")
	}
	p.begin([]*Record{r})
	if p = die(dir, now); !p.skips(r.hash, now.AddDate(50, 0, 0)) {
		t.Error("after three for good")
	}
	if p = die(dir, now); p.known[r.hash].times != 3 {
		t.Errorf("a start that ended in order counts: %d", p.known[r.hash].times)
	}
}

// TestSalvage: of a damaged file, what nobody else has can be admitted, and what was deleted or replaced in it does not come
// back. Whatever byte is damaged, all that is not in that page is found.
func TestSalvage(t *testing.T) {
	m, dir := newMesh(), t.TempDir()
	m.mute = true
	peer := m.add(t, "b")
	s, err := Open(m.config("a", dir))
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, s)
	fill(t, s, "synced", 400)
	put(t, s, Write{Key: pod("changed"), Body: []byte("old"), Human: true})
	put(t, s, Write{Key: pod("deleted"), Body: []byte("dead"), Human: true})
	reconcile(t, s, peer)
	fill(t, s, "unsynced", 30)
	put(t, s, Write{Key: pod("changed"), Base: get(s, pod("changed")), Body: []byte("new and unsynced"), Human: true})
	put(t, s, Write{Key: pod("deleted"), Base: get(s, pod("deleted")), Op: Delete, Human: true})
	_, all := s.Root()
	stop()
	path := filepath.Join(dir, "store.db")
	whole, err := salvage(path)
	if err != nil || len(whole) != all {
		t.Fatalf("%d of %d records of a file that is well, %v", len(whole), all, err)
	}
	damageMeta(t, path)
	s = start(t, m.config("a", dir))
	if s.Quarantined() == "" {
		t.Fatal("the damage was not noticed")
	}
	if lost := lostOf(t, s); len(lost) != all {
		t.Fatalf("%d of %d records in lost-and-found", len(lost), all)
	}
	reconcile(t, s, peer)
	lost := lostOf(t, s)
	if len(lost) != 32 || !lost[0].Damaged {
		t.Fatalf("%d entries are left after the peer filled the store, want the 32 that it did not have", len(lost))
	}
	for i := len(lost) - 1; i >= 0; i-- {
		if err := s.Admit(t.Context(), lost[i].ID, false); err != nil {
			t.Fatal(err)
		}
	}
	if string(get(s, pod("changed")).Bodies[Intent]) != "new and unsynced" || get(s, pod("deleted")) != nil || get(s, pod("unsynced-00029")) == nil {
		t.Fatal("what was admitted is not what was lost")
	}
	if n := len(lostOf(t, s)); n != 0 {
		t.Fatalf("%d entries are left", n)
	}
	reconcile(t, s, peer)
	equalRoots(t, s, peer)
}

// damageMeta breaks both meta pages, so that bbolt opens nothing.
func damageMeta(t *testing.T, path string) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for page := range int64(2) {
		if _, err := f.WriteAt(make([]byte, 80), page*int64(os.Getpagesize())); err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzLeaf reads pages of damaged files.
func FuzzLeaf(f *testing.F) {
	path := filepath.Join(f.TempDir(), "x.db")
	db, err := bolt.Open(path, 0o600, options())
	if err != nil {
		f.Fatal(err)
	}
	d := &disk{db: db}
	bt := &batch{}
	for _, r := range specimens(f) {
		bt.ops = append(bt.ops, diskOp{rec: r})
	}
	if err := errors.Join(d.prepare(), d.commit(bt), db.Close()); err != nil {
		f.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	found := 0
	for b := bufio.NewReader(bytes.NewReader(file)); ; {
		page := make([]byte, os.Getpagesize())
		if _, err := b.Read(page); err != nil {
			break
		}
		found += len(leafRecords(page, false))
		f.Add(page)
	}
	if found == 0 {
		f.Fatal("the records of a file that is well were not found")
	}
	f.Add(warren(specimens(f)[0], 2, 2))
	f.Fuzz(func(t *testing.T, page []byte) {
		recs := leafRecords(page, false)
		for _, r := range recs {
			if again, err := decodeRecord(r.msg, r.sig); err != nil || again.hash != r.hash {
				t.Fatalf("salvaged what is no record: %v", err)
			}
		}
		slices.SortFunc(recs, func(a, b *Record) int { return a.compare(b) })
		counting(slices.CompactFunc(recs, func(a, b *Record) bool { return a.hash == b.hash }))
	})
}

// warren is a leaf of buckets that all lie in the same place, and so on down to a record.
func warren(r *Record, fan, deep int) []byte {
	key, value, flags := storedKey(r), storedValue(r), uint32(0)
	if deep > 0 {
		key, value, flags = bucketRecords, append(make([]byte, boltHeader), warren(r, fan, deep-1)...), boltBucket
	}
	page := make([]byte, boltHeader)
	binary.LittleEndian.PutUint16(page[8:], boltLeaf)
	binary.LittleEndian.PutUint16(page[10:], uint16(fan))
	for i := range fan {
		for _, n := range []uint32{flags, uint32((fan - i) * boltElement), uint32(len(key)), uint32(len(value))} {
			page = binary.LittleEndian.AppendUint32(page, n)
		}
	}
	return append(append(page, key...), value...)
}

// A damaged page may say that its buckets lie within one another: what is read does not grow with every storey.
func TestSalvageDoesNotGoDownEveryBurrow(t *testing.T) {
	r := specimens(t)[0]
	r.sig = []byte("s")
	for _, c := range []struct{ fan, deep, found int }{{1, 0, 1}, {1, 1, 1}, {4, 1, 16}, {4, 9, 0}} {
		if got := len(leafRecords(warren(r, c.fan, c.deep), false)); got != c.found {
			t.Errorf("%d buckets in one place, %d deep: %d records, want %d", c.fan, c.deep, got, c.found)
		}
	}
}
