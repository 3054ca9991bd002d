package bed

import (
	"testing"
	"time"
)

func TestLineKeepsOrderAndBounds(t *testing.T) {
	l := newLine(20*time.Millisecond, 15*time.Millisecond, 50)
	now := time.Unix(0, 0)
	for i := range 50 {
		if !l.put(now.Add(time.Duration(i)*time.Millisecond), []byte{byte(i)}) {
			t.Fatalf("packet %d was lost, the queue holds 50", i)
		}
	}
	if l.put(now, nil) {
		t.Error("a full queue took another packet")
	}
	var last time.Time
	for i := range 50 {
		p := <-l.packets
		in := now.Add(time.Duration(i) * time.Millisecond)
		if p.data[0] != byte(i) || p.due.Before(last) {
			t.Errorf("packet %d left out of order", p.data[0])
		}
		if took := p.due.Sub(in); took < 5*time.Millisecond || took > 36*time.Millisecond+15*time.Millisecond {
			t.Errorf("packet %d took %s", i, took)
		}
		last = p.due
	}
}
