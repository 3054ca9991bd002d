package images

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/client"
)

// registry is an engine's answers to a pull: each line is sent so long after the one before.
type registry []struct {
	after time.Duration
	line  string
}

func (r registry) RoundTrip(req *http.Request) (*http.Response, error) {
	if len(r) == 0 { // an engine answers nothing before the registry does
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	out, in := io.Pipe()
	go func() {
		for _, step := range r {
			select {
			case <-req.Context().Done():
				in.CloseWithError(req.Context().Err())
				return
			case <-time.After(step.after):
			}
			if _, err := io.WriteString(in, step.line); err != nil {
				return
			}
		}
		in.Close()
	}()
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: out, Request: req}, nil
}

func engineOf(t *testing.T, r registry, pulls *hearing) engine {
	t.Helper()
	c, err := client.New(client.WithHost("tcp://engine:1"), client.WithHTTPClient(&http.Client{Transport: r}), client.WithAPIVersion("1.41"))
	if err != nil {
		t.Fatal(err)
	}
	return engine{c, pulls}
}

func steps(n int, after time.Duration, status string) (r registry) {
	for range n {
		r = append(r, struct {
			after time.Duration
			line  string
		}{after, `{"status":"` + status + `"}`})
	}
	return r
}

func TestSilentPullIsGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		engine registry
		want   string
	}{
		"a registry that never answers":      {nil, "no answer for 1m0s"},
		"a download that stands still":       {append(steps(3, 50*time.Second, "Downloading"), steps(1, time.Hour, "Downloading")...), `no progress for 1m0s after "Downloading"`},
		"one that waits, and nothing else":   {append(steps(1, 0, "Waiting"), steps(1, time.Hour, "Downloading")...), `no progress for 1m0s after "Waiting"`},
		"a slow one that is heard":           {steps(100, 50*time.Second, "Downloading"), ""},
		"one that fails says why and how":    {registry{{time.Second, `{"errorDetail":{"code":404,"message":"gone"}}`}}, "gone"},
		"one whose error is told in a sense": {registry{{time.Second, `{"errorDetail":{"message":"toomanyrequests"}}`}}, "toomanyrequests"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				err := engineOf(t, c.engine, &hearing{}).pull(t.Context(), "a/b:1", "")
				if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("got %v, want %q", err, c.want)
				}
			})
		})
	}
}

// An engine downloads three layers at once: who is told to wait is not silent by his own fault.
func TestPullThatWaitsItsTurnIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pulls hearing
		others := make(chan error)
		go func() {
			others <- engineOf(t, steps(20, 50*time.Second, "Downloading"), &pulls).pull(t.Context(), "big:1", "")
		}()
		waits := append(steps(1, 0, "Waiting"), steps(1, 15*time.Minute, "Pull complete")...)
		if err := engineOf(t, waits, &pulls).pull(t.Context(), "small:1", ""); err != nil {
			t.Errorf("while others are heard: %v", err)
		}
		if err := <-others; err != nil {
			t.Error(err)
		}
	})
}

func TestCodesGoBeforeWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := engineOf(t, registry{{0, `{"errorDetail":{"code":404,"message":"gone"}}`}}, &hearing{}).pull(t.Context(), "a:1", "")
		if got := classify("a:1", err); !errors.Is(got, ErrImageNotFound) {
			t.Errorf("got %v", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := engineOf(t, nil, &hearing{}).pull(ctx, "a:1", ""); !errors.Is(err, context.Canceled) {
			t.Errorf("a pull that its caller ends gives %v", err)
		}
	})
}
