package lasting

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
)

func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Crowd
		release := make(chan struct{})
		h := c.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }),
			func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/log") })
		if !c.Wait(t.Context()) {
			t.Error("nobody is there, and is waited for")
		}
		for _, path := range []string{"/a/log", "/b/log", "/c"} {
			go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
		}
		synctest.Wait()
		if n := c.Active(); n != 2 {
			t.Errorf("%d last, want the two logs", n)
		}
		short, cancel := context.WithCancel(t.Context())
		cancel()
		if c.Wait(short) {
			t.Error("the crowd is empty while two run")
		}
		empty := make(chan bool)
		go func() { empty <- c.Wait(t.Context()) }()
		synctest.Wait()
		release <- struct{}{}
		release <- struct{}{}
		release <- struct{}{}
		if !<-empty || c.Active() != 0 {
			t.Error("all have ended, and the crowd is not empty")
		}
	})
}
