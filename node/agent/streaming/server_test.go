package streaming

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

type nothingRuns struct{ Pods }

func (nothingRuns) Running(_, _, container string) (Target, error) {
	return Target{}, errors.New("container " + container + " is not running")
}

func TestWhatDoesNotRunIsRefusedBeforeThereAreStreams(t *testing.T) {
	s := New(Config{Pods: nothingRuns{}, Log: slog.New(slog.DiscardHandler)})
	for path, serve := range map[string]http.HandlerFunc{"/exec/ns/p/c?command=ls&output=1": s.exec, "/attach/ns/p/c?output=1": s.attach} {
		mux := http.NewServeMux()
		mux.HandleFunc("/{verb}/{namespace}/{pod}/{container}", serve)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, nil))
		if got := strings.TrimSpace(w.Body.String()); w.Code != http.StatusBadRequest || got != "container c is not running" {
			t.Errorf("%s: %d %q", path, w.Code, got)
		}
	}
}
