package node

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/orpheus-mesh/orpheus/ingress"
	"github.com/orpheus-mesh/orpheus/netmesh/dns"
	"github.com/orpheus-mesh/orpheus/node/lasting"
	"github.com/orpheus-mesh/orpheus/node/sockets"
)

// Succession is what a daemon and the image of it that may follow share. The zero value has no successor.
//
//	asked ─► checked ─► clients dismissed ─► rooms end, store closed ─► doors close ─► Run returns ErrSucceeded ─► Exec
//	            └ refused: nothing has changed         └ sockets stay open all the while ┘   └ requests are Left: Start, Wait
type Succession struct {
	Sockets *sockets.Keeper // what strangers connect to; nil: nothing outlives the daemon
	// Check asks whether the image that would follow can run, and returns its version. The error is for the operator.
	Check func(context.Context) (version string, err error)
	Asked <-chan os.Signal // asks for it too
	Ready func()           // called when the daemon is; nil: nobody is told
}

// ErrSucceeded is what Run returns when the next image is to take its place.
var ErrSucceeded = errors.New("the daemon gives way to its next image")

const (
	dismissal    = 10 * time.Second       // for requests that run, while all is served on
	lastRequests = 400 * time.Millisecond // for those that are left then, while new ones wait: what takes longer runs on

	lastDrain = 25 * time.Second // for all, when the daemon stops
	parting   = 5 * time.Second  // for watches to end, before Config.Linger is over
)

// successor decides once that there will be one.
type successor struct {
	Succession
	mu      sync.Mutex // one check at a time
	decided chan struct{}
	left    *Left // once the doors are closed
}

func newSuccessor(s Succession) *successor {
	if s.Sockets == nil {
		s.Sockets = &sockets.Keeper{}
	}
	return &successor{Succession: s, decided: make(chan struct{})}
}

// Restart has the daemon give way to the image that is at its path now, whose version it returns. What that image or the
// configuration lacks is an error, and nothing has changed then.
func (s *server) Restart(ctx context.Context) (version string, err error) {
	n := s.next
	if n.Check == nil {
		return "", errors.New("this daemon was started in a way that knows no successor: stop it and start it anew")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.decided:
		return "", errors.New("the daemon is restarting already")
	default:
	}
	if version, err = n.Check(ctx); err != nil {
		s.log.Error("restart refused, this daemon goes on", "error", err)
		return "", err
	}
	close(n.decided)
	return version, nil
}

// succeed waits for the decision, has clients let go and ends the rooms.
func (s *server) succeed(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.next.Asked:
			_, _ = s.Restart(ctx) // it has logged why not
		case <-s.next.decided:
			s.log.Info("orpheus restarts: clients are asked to let go of their connections")
			bound, cancel := context.WithTimeout(ctx, dismissal)
			defer cancel()
			s.net.proxy.Dismiss(bound)
			return ErrSucceeded
		}
	}
}

// ingress serves until ctx ends. For a successor, who comes last waits for it and not for an answer that takes long; what takes long
// runs on.
func (s *server) ingress(ctx context.Context) error {
	ended := make(chan error, 1)
	stay := context.WithoutCancel(ctx)
	go func() { ended <- s.net.proxy.Run(stay) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	patience := lastDrain
	select {
	case <-s.next.decided:
		bound, cancel := context.WithTimeout(stay, lastRequests)
		defer cancel()
		if s.net.proxy.Leave(bound) > 0 && s.cfg.Linger > 0 {
			s.next.left = &Left{s.net.proxy, ended, &s.lasting, s.cfg.Linger, s.api.Dismiss}
			return nil
		}
		patience = 0
	default:
		s.next.Sockets.Close() // so that whoever comes is refused and not kept waiting
	}
	bound, cancel := context.WithTimeout(stay, patience)
	defer cancel()
	_ = s.net.proxy.Drain(bound) // its only error is the bound's
	return <-ended
}

// spares tells whether what runs is to live on in this process, beside its next image.
func (s *server) spares() bool {
	select {
	case <-s.next.decided:
		return s.cfg.Linger > 0
	default:
		return false
	}
}

// carry adds what runs through API and agent to what is left, unless rooms that do not end forbid that this process stays.
func (s *server) carry(haunted []string) {
	if s.next.left == nil && s.spares() && s.lasting.Active() > 0 {
		s.next.left = &Left{lasting: &s.lasting, limit: s.cfg.Linger, dismiss: s.api.Dismiss}
	}
	if s.next.left == nil {
		return
	}
	if slices.ContainsFunc(haunted, stands) {
		s.log.Warn("connections are cut: rooms that do not end would stand in the next image's way", "rooms", haunted, "active", s.next.left.Active())
		s.next.left = nil
		return
	}
	if err := s.api.Outlive(); err != nil {
		s.log.Warn("watches end with this image", "error", err)
		s.api.Dismiss()
	}
}

// Left is what a daemon that gives way still carries: requests and upgrades through its ingress, logs, exec, watches and the like through
// its API and of its pods. It needs nothing else of the daemon; watches are fed by the next one's API.
type Left struct {
	proxy   *ingress.Proxy // nil: nothing runs through it
	ended   <-chan error
	lasting *lasting.Crowd
	limit   time.Duration
	dismiss func() // ends watches, which never do by themselves
}

// Active is how many they are. What runs through the API to a pod here counts twice.
func (l *Left) Active() int {
	n := l.lasting.Active()
	if l.proxy != nil {
		n += int(l.proxy.Snapshot().Active)
	}
	return n
}

// Wait returns when all have ended. They are cut after Config.Linger, or when 25 s have gone since ctx ended: then it returns
// false, and what runs elsewhere than through the ingress ends with the process.
func (l *Left) Wait(ctx context.Context) (whole bool) {
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.limit)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		l.dismiss()
		time.AfterFunc(lastDrain, cancel)
	})()
	defer time.AfterFunc(l.limit-min(parting, l.limit/2), l.dismiss).Stop()
	whole = l.proxy == nil || errors.Join(l.proxy.Drain(bound), <-l.ended) == nil
	return l.lasting.Wait(bound) && whole
}

// retain closes the sockets of an earlier image that the configuration no longer wants.
func (s *server) retain() {
	for _, a := range s.next.Sockets.Retain(
		sockets.Address{Addr: s.cfg.API}, sockets.Address{Addr: s.cfg.HTTP}, sockets.Address{Addr: s.cfg.HTTPS},
		sockets.Address{Addr: dns.Default.String()}, sockets.Address{Packet: true, Addr: dns.Default.String()},
	) {
		s.log.Info("a socket of an earlier life is not wanted any more", "address", a.String())
	}
}

// listen opens a door of this server's, or takes it over.
func (n *successor) listen(ctx context.Context, network, address string) (net.Listener, error) {
	return n.Sockets.Listen(ctx, &net.ListenConfig{}, network, address)
}

func (n *successor) ready() {
	if n.Ready != nil {
		n.Ready()
	}
}
