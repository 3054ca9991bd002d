package agent

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	v1 "k8s.io/api/core/v1"

	"github.com/orpheus-mesh/orpheus/node/docker"
)

// fakeEngine is a small engine: it keeps containers, runs them as the script of their image says, and can go away.
type fakeEngine struct {
	mu         sync.Mutex
	containers map[string]*fakeContainer
	serial     int
	down       bool
	starts     map[string]int // by container name in the pod
	scripts    map[string]script
	images     map[string]bool
	asked      map[string]int    // pulls by reference
	mute       bool              // see setMute
	locked     map[string]string // what Ensure wants to be shown for a reference
	listeners  map[int]listener
}

type listener struct {
	each func(docker.Event)
	lost func()
}

type fakeContainer struct {
	docker.Container
	spec docker.Spec
	over chan struct{} // closed when it does not run
}

// script is what a container does: exit after a while, refuse to start, ignore signals.
type script struct {
	after   time.Duration // 0: runs for ever
	code    int
	broken  string // start fails with this
	deaf    bool   // ignores SIGTERM
	undying bool   // ignores SIGKILL too
}

var errDown = errors.New("dial unix docker.sock: connection refused")

func newFakeEngine() *fakeEngine {
	return &fakeEngine{containers: map[string]*fakeContainer{}, starts: map[string]int{}, scripts: map[string]script{},
		images: map[string]bool{"app": true}, asked: map[string]int{}, locked: map[string]string{}, listeners: map[int]listener{}}
}

func (f *fakeEngine) lock() (func(), error) {
	f.mu.Lock()
	if f.down {
		f.mu.Unlock()
		return nil, errDown
	}
	return f.mu.Unlock, nil
}

// setDown takes the engine away, or brings it back.
func (f *fakeEngine) setDown(down bool) {
	f.mu.Lock()
	f.down = down
	all := maps.Clone(f.listeners)
	f.mu.Unlock()
	if !down {
		for _, l := range all {
			l.lost()
		}
	}
}

// setMute lets the engine answer, but not tell what it runs.
func (f *fakeEngine) setMute(mute bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mute = mute
}

func (f *fakeEngine) Info(context.Context) (docker.Info, error) {
	unlock, err := f.lock()
	if err != nil {
		return docker.Info{}, err
	}
	defer unlock()
	return docker.Info{Version: "fake"}, nil
}

func (f *fakeEngine) Ping(ctx context.Context) error {
	_, err := f.Info(ctx)
	return err
}

func (f *fakeEngine) List(_ context.Context, _ map[string]docker.Container, labels ...string) ([]docker.Container, error) {
	unlock, err := f.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if f.mute {
		return nil, errDown
	}
	var out []docker.Container
	for _, c := range f.containers {
		matches := true
		for _, l := range labels {
			k, v, _ := strings.Cut(l, "=")
			matches = matches && c.Labels[k] == v
		}
		if matches {
			out = append(out, c.Container)
		}
	}
	return out, nil
}

func (f *fakeEngine) Inspect(_ context.Context, id string) (docker.Container, error) {
	unlock, err := f.lock()
	if err != nil {
		return docker.Container{}, err
	}
	defer unlock()
	if c := f.containers[id]; c != nil {
		return c.Container, nil
	}
	return docker.Container{}, errdefs.ErrNotFound
}

func (f *fakeEngine) Create(_ context.Context, s docker.Spec) (string, error) {
	unlock, err := f.lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	for id, c := range f.containers {
		if c.Name == s.Name {
			if c.State != docker.Created {
				return "", fmt.Errorf("name %s is taken: %w", s.Name, errdefs.ErrConflict)
			}
			delete(f.containers, id)
		}
	}
	if mode := string(s.Host.NetworkMode); strings.HasPrefix(mode, "container:") {
		if sb := f.containers[strings.TrimPrefix(mode, "container:")]; sb == nil || sb.State != docker.Running {
			return "", errors.New("cannot join the network of a container that does not run")
		}
	}
	f.serial++
	id := fmt.Sprintf("id%d", f.serial)
	f.containers[id] = &fakeContainer{spec: s, over: make(chan struct{}), Container: docker.Container{ID: id, Name: s.Name, Labels: s.Config.Labels,
		Image: s.Config.Image, ImageID: s.Config.Image, State: docker.Created, Created: time.Now(), StopSignal: s.Config.StopSignal}}
	return id, nil
}

func (f *fakeEngine) Start(_ context.Context, id string) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	c := f.containers[id]
	if c == nil {
		return errdefs.ErrNotFound
	}
	name := c.Labels[labelContainer]
	do := f.scripts[name]
	f.starts[name]++
	if do.broken != "" {
		c.Error, c.ExitCode = do.broken, 127
		return errors.New(do.broken)
	}
	c.State, c.PID, c.Started = docker.Running, 1000+f.serial, time.Now()
	f.tell(c, "start")
	if do.after > 0 {
		time.AfterFunc(do.after, func() { f.exit(id, do.code) })
	}
	return nil
}

// exit ends a running container.
func (f *fakeEngine) exit(id string, code int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.containers[id]
	if c == nil || c.State != docker.Running {
		return
	}
	c.State, c.PID, c.ExitCode, c.Finished = docker.Exited, 0, code, time.Now()
	close(c.over)
	f.tell(c, "die")
}

// oom is word that a container ran out of memory.
func (f *fakeEngine) oom(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tell(f.containers[id], "oom")
}

func (f *fakeEngine) tell(c *fakeContainer, action string) {
	if f.down {
		return
	}
	for _, l := range f.listeners {
		l.each(docker.Event{PodUID: c.Labels[labelUID], Container: c.ID, Action: action})
	}
}

func (f *fakeEngine) Signal(_ context.Context, id, signal string) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	c := f.containers[id]
	unlock()
	if c == nil {
		return nil
	}
	do := f.scripts[c.Labels[labelContainer]]
	switch {
	case signal == "SIGKILL" && !do.undying:
		f.exit(id, 137)
	case signal != "SIGKILL" && !do.deaf && !do.undying:
		f.exit(id, 143)
	}
	return nil
}

func (f *fakeEngine) Wait(ctx context.Context, id string) error {
	f.mu.Lock()
	c := f.containers[id]
	f.mu.Unlock()
	if c == nil {
		return nil
	}
	select {
	case <-c.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fakeEngine) Remove(_ context.Context, id string) error {
	f.exit(id, 137)
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if c := f.containers[id]; c != nil {
		delete(f.containers, id)
		f.tell(c, "destroy")
	}
	return nil
}

func (f *fakeEngine) Events(ctx context.Context, each func(docker.Event), lost func()) {
	f.mu.Lock()
	f.serial++
	mine := f.serial
	f.listeners[mine] = listener{each, lost}
	f.mu.Unlock()
	lost()
	<-ctx.Done()
	f.mu.Lock()
	delete(f.listeners, mine)
	f.mu.Unlock()
}

func (f *fakeEngine) Exec(context.Context, string, []string, docker.Streams) (int, error) {
	return 0, nil
}

func (f *fakeEngine) Logs(context.Context, string, docker.LogOptions, io.Writer, io.Writer) error {
	return nil
}

func (f *fakeEngine) Image(_ context.Context, ref string) (docker.Image, error) {
	unlock, err := f.lock()
	if err != nil {
		return docker.Image{}, err
	}
	defer unlock()
	if !f.images[ref] {
		return docker.Image{}, errdefs.ErrNotFound
	}
	return docker.Image{ID: ref}, nil
}

func (f *fakeEngine) Images(context.Context) ([]docker.Image, error) { return nil, nil }

func (f *fakeEngine) EnsurePause(context.Context) (string, error) { return "pause", nil }

// Ensure gives the images that the engine has, and locked ones to whoever has the key; it is the fake of the image room too.
// The reason of a refusal is another each time, as of a dead name server.
func (f *fakeEngine) Ensure(ctx context.Context, ref string, _ v1.PullPolicy, auth string) (string, error) {
	if img, err := f.Image(ctx, ref); err == nil {
		return img.ID, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[ref]++
	shown, _ := base64.URLEncoding.DecodeString(auth)
	if key, ok := f.locked[ref]; ok && strings.Contains(string(shown), key) {
		f.images[ref] = true
		return ref, nil
	}
	return "", fmt.Errorf("udp port %d: i/o timeout", 30000+f.asked[ref])
}

func (f *fakeEngine) Known(ctx context.Context, ref string) string {
	img, _ := f.Image(ctx, ref)
	return img.ID
}

// running lists the running containers of a pod as "name#attempt", sandboxes as "#attempt".
func (f *fakeEngine) running(uid string) map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]int{}
	for _, c := range f.containers {
		if c.State == docker.Running && c.Labels[labelUID] == uid {
			out[c.Labels[labelContainer]]++
		}
	}
	return out
}

func (f *fakeEngine) find(uid, name string, state docker.State) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, c := range f.containers {
		if c.State == state && c.Labels[labelUID] == uid && c.Labels[labelContainer] == name {
			return id
		}
	}
	return ""
}

// fakeNet gives addresses and refuses to give one twice.
type fakeNet struct {
	mu       sync.Mutex
	addrs    map[string]netip.Addr
	attached map[string]netip.Addr
	next     byte
}

func newFakeNet() *fakeNet {
	return &fakeNet{addrs: map[string]netip.Addr{}, attached: map[string]netip.Addr{}}
}

func (n *fakeNet) Assign(uid string) (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.addrs[uid]; !ok {
		n.next++
		n.addrs[uid] = netip.AddrFrom4([4]byte{10, 32, 0, n.next})
	}
	return n.addrs[uid], nil
}

func (n *fakeNet) Adopt(uid string, a netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for other, has := range n.addrs {
		if has == a && other != uid {
			return fmt.Errorf("%s belongs to %s", a, other)
		}
	}
	n.addrs[uid] = a
	return nil
}

func (n *fakeNet) Release(uid string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.addrs, uid)
}

func (n *fakeNet) Attach(_ context.Context, at Attachment) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if at.PID == 0 || n.addrs[at.PodUID] != at.Addr {
		return fmt.Errorf("attach %+v: not assigned", at)
	}
	n.attached[at.PodUID] = at.Addr
	return nil
}

func (n *fakeNet) Detach(_ context.Context, uid string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.attached, uid)
	return nil
}
