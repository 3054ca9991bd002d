package api

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// TestPipesNeverCancelARequest keeps many connections busy with requests one after the other: a deadline that fires late
// would cancel the context of a request whose client is still there.
func TestPipesNeverCancelARequest(t *testing.T) {
	p := newPipes()
	cancelled := make(chan error, 1)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.Context().Err(); err != nil {
			select {
			case cancelled <- err:
			default:
			}
		}
		_, _ = fmt.Fprint(w, r.URL.Path)
	})}
	go func() { _ = server.Serve(p) }()
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return p.dial(ctx)
	}}}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 500 {
				path := fmt.Sprintf("/%d/%d", worker, i)
				res, err := client.Get("http://x" + path)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || string(body) != path {
					t.Errorf("%s: got %q, %v", path, body, err)
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-cancelled:
		t.Errorf("a request was cancelled: %v", err)
	default:
	}
}

func TestPipesRefuseAfterClose(t *testing.T) {
	p := newPipes()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.dial(t.Context()); err == nil {
		t.Error("a closed listener took a connection")
	}
}
