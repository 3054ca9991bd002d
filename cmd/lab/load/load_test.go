package load

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestCountsFailuresAndGap(t *testing.T) {
	var n atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch i := n.Add(1); {
		case i > 40 && i <= 60:
			w.WriteHeader(503)
		case i == 70:
			c, _, _ := w.(http.Hijacker).Hijack()
			c.Close()
		}
	}))
	defer s.Close()
	r, err := Run(t.Context(), Config{URL: s.URL, Rate: 200, Duration: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r.Sent != 100 || r.Failed != 21 || r.Reasons["status 503"] != 20 || r.Reasons["connection closed"] != 1 || r.Statuses[200] != 79 {
		t.Errorf("%+v, want 100 sent, 20 times 503, one closed", r)
	}
	if len(r.Failures) != 21 || r.Failures[0].At <= 0 {
		t.Errorf("failures %+v", r.Failures)
	}
	text, err := json.Marshal(r)
	var back Report
	if err != nil || json.Unmarshal(text, &back) != nil || back.Sent != r.Sent {
		t.Errorf("report does not survive JSON: %s %v", text, err)
	}
}

func TestReportOfKnownSamples(t *testing.T) {
	start := time.Unix(100, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	var tally tally
	for _, s := range []sample{ // out of order, as answers come
		{due: at(300), done: at(2300), reason: "timeout"},
		{due: at(0), done: at(10), status: 200},
		{due: at(200), done: at(230), status: 200},
		{due: at(400), done: at(405), status: 503, reason: "status 503"},
		{due: at(100), done: at(120), status: 200},
		{due: at(2000), done: at(2040), status: 200},
	} {
		tally.add(s)
	}
	r := tally.report(start, at(2300))
	if r.Sent != 6 || r.Failed != 2 || r.LongestGap != Duration(1810*time.Millisecond) || r.GapAt != Duration(230*time.Millisecond) {
		t.Errorf("%+v, want 2 of 6 failed and a gap of 1.81 s after 230 ms", r)
	}
	if r.Latency.Worst != Duration(40*time.Millisecond) || r.Latency.Median != Duration(20*time.Millisecond) {
		t.Errorf("latency %+v", r.Latency)
	}
	if f := r.Failures; len(f) != 2 || f[0].At != Duration(300*time.Millisecond) || f[0].After != Duration(2*time.Second) {
		t.Errorf("failures %+v, want them by time", f)
	}
}

func TestSpreadsOverTargets(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host, _, _ := net.SplitHostPort(r.Host); host != "todo.example.test" {
			w.WriteHeader(404)
		}
	}))
	defer s.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	r, err := Run(t.Context(), Config{
		URL: "https://todo.example.test:" + port, Rate: 200, Duration: 100 * time.Millisecond, Insecure: true, KeepAlive: true,
		Targets: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")},
	})
	if err != nil {
		t.Fatal(err)
	}
	// The server listens on 127.0.0.1 alone.
	if r.Targets["127.0.0.1"].Failed != 0 || r.Targets["127.0.0.2"].Failed != 10 || r.Reasons["connection refused"] != 10 {
		t.Errorf("%+v, want one target to answer and the other to refuse", r)
	}
}

func TestTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts into its backlog and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r, err := Run(t.Context(), Config{URL: "http://" + l.Addr().String(), Rate: 100, Duration: 50 * time.Millisecond, Timeout: 100 * time.Millisecond})
	if err != nil || r.Sent != 5 || r.Reasons["timeout"] != 5 {
		t.Errorf("%+v, %v, want 5 timeouts", r, err)
	}
}

func TestRefusesNonsense(t *testing.T) {
	for field, cfg := range map[string]Config{
		"url":      {URL: "ftp://x", Rate: 1, Duration: 1},
		"rate":     {URL: "http://x", Duration: 1},
		"duration": {URL: "http://x", Rate: 1},
		"timeout":  {URL: "http://x", Rate: 1, Duration: 1, Timeout: -1},
	} {
		if _, err := Run(t.Context(), cfg); err == nil || !strings.HasPrefix(err.Error(), field+":") {
			t.Errorf("%s: %v, want an error that names it", field, err)
		}
	}
}
