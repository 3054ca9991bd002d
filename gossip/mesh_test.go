package gossip

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"
)

func TestThreeServersBecomeOneMesh(t *testing.T) {
	all := cluster(t, 3)
	all[1].put("from-n1", "hello")
	for _, s := range all {
		s.sees("from-n1", "hello", 3*time.Second)
	}
	agree(t, 10*time.Second, all...)
	for _, s := range all {
		if len(s.Members()) != 3 {
			t.Errorf("%s knows %d members, want 3", s.cfg.Name, len(s.Members()))
		}
		for _, m := range s.Members() {
			if m.Zone != "z-"+m.Name || m.Region != "r1" || !m.Addr.IsValid() {
				t.Errorf("%s sees %+v", s.cfg.Name, m)
			}
		}
	}
}

func TestCallCarriesRepliesAndErrors(t *testing.T) {
	all := cluster(t, 2)
	all[0].Serve("/test/echo/1", func(_ context.Context, from ID, request []byte) ([]byte, error) {
		if string(request) == "fail" {
			return nil, errors.New("no, " + string(from))
		}
		return append([]byte("you said "), request...), nil
	})
	reply, err := all[1].Call(t.Context(), all[0].Self().ID, "/test/echo/1", []byte("hi"))
	if err != nil || string(reply) != "you said hi" {
		t.Errorf("reply %q, error %v", reply, err)
	}
	_, err = all[1].Call(t.Context(), all[0].Self().ID, "/test/echo/1", []byte("fail"))
	var remote *RemoteError
	if !errors.As(err, &remote) || remote.Text != "no, "+string(all[1].Self().ID) {
		t.Errorf("error %v, want the far side's words", err)
	}
	if _, err = all[1].Call(t.Context(), all[0].Self().ID, "/test/echo/1", make([]byte, maxFrame+1)); err == nil {
		t.Error("a request over the limit was sent")
	}
}

// Without the tests' wire in between, on the wildcard address as in production: plain sockets, batched reads.
func TestPlainSockets(t *testing.T) {
	var all []*server
	for _, name := range []string{"n0", "n1"} {
		cfg := configure(t, name)
		cfg.wire = nil
		cfg.Advertise = cfg.Listen.Addr()
		cfg.Listen = netip.AddrPortFrom(netip.IPv4Unspecified(), cfg.Listen.Port())
		if len(all) == 0 {
			if err := Create(cfg); err != nil {
				t.Fatal(err)
			}
		} else if err := Join(t.Context(), cfg, all[0].token()); err != nil {
			t.Fatal(err)
		}
		all = append(all, start(t, cfg))
	}
	for _, s := range all {
		for _, o := range all {
			s.await(o, Alive, 10*time.Second)
		}
	}
	all[1].put("x", "y")
	all[0].sees("x", "y", 3*time.Second)
	for begun := time.Now(); all[0].link().packets.received.Load() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > 5*time.Second {
			t.Fatal("no serf packet came over the shared UDP port")
		}
	}
}

// A server that we know by hearsay only is doubted, not dead; when it comes it is a member like any other.
func TestExpectedServer(t *testing.T) {
	s := found1(t, "n0")
	cfg := configure(t, "n1")
	id, err := loadIdentity(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Expect(Member{ID: id.ID(), Name: "n1"})
	s.Expect(s.Self())
	s.until(10*time.Second, "n1 to be expected", func() bool { state, ok := s.stateOf(id.ID()); return ok && state == Suspect })
	if len(s.Members()) != 2 {
		t.Errorf("members: %+v", s.Members())
	}
	if err := Join(t.Context(), cfg, s.token()); err != nil {
		t.Fatal(err)
	}
	s.await(start(t, cfg), Alive, 10*time.Second)
}
