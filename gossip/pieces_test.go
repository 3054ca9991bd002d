package gossip

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"time"
)

func TestClocksNeedAMajorityToAccuse(t *testing.T) {
	for _, c := range []struct {
		offsets []time.Duration
		fit     bool
	}{
		{nil, true},
		{[]time.Duration{time.Hour}, true},                      // one against one
		{[]time.Duration{time.Hour, time.Hour}, false},          // two against us
		{[]time.Duration{0, 0, time.Hour}, true},                // one is wrong, not us
		{[]time.Duration{-time.Hour, -time.Hour, 0}, false},     // we are ahead
		{[]time.Duration{time.Second, 20 * time.Second}, true},  // within bounds
		{[]time.Duration{50 * time.Second, time.Minute}, false}, // beyond
	} {
		k := newClocks()
		for i, o := range c.offsets {
			k.note(ID(rune('a'+i)), o)
		}
		if err := k.fit(); (err == nil) != c.fit {
			t.Errorf("offsets %v: %v", c.offsets, err)
		}
	}
}

func TestClockOffset(t *testing.T) {
	sent := time.Unix(1000, 0)
	if got := clockOffset(sent, sent.Add(2*time.Second), time.Unix(1011, 0)); got != 10*time.Second {
		t.Errorf("offset %s, want 10 s", got)
	}
}

func TestRedialNeverStops(t *testing.T) {
	for _, c := range []struct{ absent, most time.Duration }{
		{0, 2 * time.Second}, {9 * time.Minute, 2 * time.Second}, {time.Hour, 15 * time.Second}, {1000 * 24 * time.Hour, 75 * time.Second},
	} {
		for _, jitter := range []float64{0, 0.5, 0.999} {
			if got := redialWait(c.absent, jitter); got < time.Second || got > c.most {
				t.Errorf("absent for %s: waits %s, want 1 s to %s", c.absent, got, c.most)
			}
		}
	}
}

// TestFieldsOfALaterVersionStay where this one writes anew what it read.
func TestFieldsOfALaterVersionStay(t *testing.T) {
	cfg := configure(t, "n0")
	file := `[{"id":"p","name":"n1","addr":"192.0.2.1:7946","lost":true,"rack":{"row":7}},{"id":"q","name":"n2","addr":"192.0.2.2:7946"}]`
	if err := os.WriteFile(cfg.path(peersFile), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := openBook(cfg.path(peersFile))
	if err != nil {
		t.Fatal(err)
	}
	b.stands("p", Alive)
	b.learn(known{ID: "p", Name: "n1", Region: "eu"})
	if err := b.save(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(cfg.path(peersFile))
	if err != nil {
		t.Fatal(err)
	}
	var plain bytes.Buffer
	want := `[{"addr":"192.0.2.1:7946","id":"p","name":"n1","rack":{"row":7},"region":"eu"},{"id":"q","name":"n2","addr":"192.0.2.2:7946"}]`
	if err := json.Compact(&plain, got); err != nil || plain.String() != want {
		t.Errorf("%v, known peers are\n%s, want\n%s", err, plain.Bytes(), want)
	}

	now := time.Unix(1_800_000_000, 0)
	s := &shelf{body: []byte(`{"expiry":1800000060,"uses":{"most":3}}`)}
	if err := redeem(t.Context(), s, []byte("secret"), "a", now); err != nil {
		t.Fatal(err)
	}
	if want := `{"expiry":1800000060,"usedAt":1800000000,"usedBy":"a","uses":{"most":3}}`; string(s.body) != want {
		t.Errorf("the token's record is %s, want %s", s.body, want)
	}
}

func TestBookOutlivesTheProcess(t *testing.T) {
	cfg := configure(t, "n0")
	b, err := openBook(cfg.path(peersFile))
	if err != nil {
		t.Fatal(err)
	}
	want := known{ID: "p", Name: "n1", Addr: freePort(t), Zone: "z"}
	if !b.learn(want) || b.learn(want) || b.learn(known{ID: "p", Name: "n1"}) {
		t.Error("learn must tell news from what is known")
	}
	b.stands("p", Left)
	if err := b.save(); err != nil {
		t.Fatal(err)
	}
	again, err := openBook(cfg.path(peersFile))
	if err != nil {
		t.Fatal(err)
	}
	want.Left = true
	if got, _ := again.get("p"); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := os.WriteFile(cfg.path(peersFile), []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openBook(cfg.path(peersFile)); err == nil {
		t.Error("a broken file was read without an error")
	}
}

func TestHostWithANewIdentitySupersedesItsOldOne(t *testing.T) {
	all := cluster(t, 2)
	old := all[1]
	old.crash()
	all[0].await(old, Failed, 10*time.Second)
	old.end()
	again := all[0].admit("n1") // the same name, an empty data directory
	all[0].await(again, Alive, 10*time.Second)
	all[0].await(old, Left, 5*time.Second)
	again.await(old, Left, 15*time.Second) // it finds its own old self dead only after it came back
}

func TestSettledAfterReconcilingAndAQuietMoment(t *testing.T) {
	s, now := newSettling(), time.Unix(1_800_000_000, 0)
	if !s.settled(now) {
		t.Error("a new mesh waits for somebody")
	}
	s.regained("b", now)
	s.regained("c", now.Add(time.Second))
	s.done("b")
	if later := now.Add(calmSpan + time.Second); s.settled(later) || s.expire(later) {
		t.Error("settled before c was reconciled with")
	}
	s.done("c")
	if soon := now.Add(calmSpan); s.settled(soon) || s.expire(soon) {
		t.Error("settled while the other end of the link may not have noticed yet")
	}
	later := now.Add(calmSpan + time.Second)
	if !s.settled(later) || !s.expire(later) || s.expire(later) {
		t.Error("not settled after both and a quiet moment, or told twice")
	}
	s.regained("d", later)
	if end := later.Add(settleSpan); s.expire(end.Add(-time.Second)) || !s.expire(end) || !s.settled(end) {
		t.Error("the wait is bounded by 30 s")
	}
}
