package ingress

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// A big upload is refused before it has been read: the client must see the refusal, however the endpoint hangs up.
func TestEarlyAnswersArrive(t *testing.T) {
	abrupt, _ := awkward(t, 0, func(c net.Conn, br *bufio.Reader, _ func()) {
		_, _ = http.ReadRequest(br) // the header; what is unread at the end resets the connection
		_, _ = io.WriteString(c, "HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 7\r\n\r\ntoo big")
	})
	polite := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		fmt.Fprint(w, "too big")
	})
	for name, e := range map[string]netip.AddrPort{"reset": abrupt, "Go": polite} {
		_, addr, _ := start(t, Config{}, table(t, nil, e))
		for i := range 30 {
			resp, err := client(t, nil).Post("http://"+addr, "text/plain", struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 5<<20))})
			if err != nil {
				t.Errorf("%s %d: %v", name, i, err)
				continue
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 413 || string(b) != "too big" {
				t.Errorf("%s %d: %d %q %v", name, i, resp.StatusCode, b, err)
			}
		}
	}
}

// What a client sends after an early answer belongs to the body that nobody wanted, though it may look like a request.
func TestRestOfABodyInWorkIsNoRequest(t *testing.T) {
	e, _ := awkward(t, 0, func(c net.Conn, br *bufio.Reader, _ func()) {
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(r.URL.Path), r.URL.Path)
		}
	})
	_, addr, _ := start(t, Config{}, table(t, nil, e))
	for name, header := range map[string]string{"chunked": "Transfer-Encoding: chunked\r\n\r\n20000\r\nx", "a length": "Content-Length: 131072\r\n\r\nx"} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(soon))
		fmt.Fprint(c, "POST /first HTTP/1.1\r\nHost: x\r\n"+header)
		br := bufio.NewReader(c)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(resp.Body); string(b) != "/first" || err != nil || !resp.Close {
			t.Errorf("%s: %q %v, closes %v", name, b, err, resp.Close)
		}
		fmt.Fprint(c, "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
		if b, _ := io.ReadAll(br); len(b) > 0 { // until the proxy closes
			t.Errorf("%s: a second answer to one request: %.200q", name, b)
		}
		c.Close()
	}
}
