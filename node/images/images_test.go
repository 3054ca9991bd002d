package images

import (
	"errors"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestNormalise(t *testing.T) {
	for in, want := range map[string]string{
		"todo":                     "docker.io/library/todo:latest",
		"todo:v1":                  "docker.io/library/todo:v1",
		"example.test:5000/a/b:v2": "example.test:5000/a/b:v2",
	} {
		if got, err := Normalise(in); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", in, got, err, want)
		}
	}
	if _, err := Normalise("UPPER:v1"); !errors.Is(err, ErrInvalidName) {
		t.Errorf("an invalid name gives %v", err)
	}
}

func TestPullErrorsKeepTheirKind(t *testing.T) {
	for text, want := range map[string]error{
		"manifest for x:v9 not found: manifest unknown":                   ErrImageNotFound,
		"unauthorized: authentication required":                           ErrImageDenied,
		"pull access denied for x, repository does not exist":             ErrImageDenied,
		"toomanyrequests: You have reached your pull rate limit":          ErrImageRateLimited,
		"dial tcp: lookup registry.example on 127.0.0.1:53: no such host": ErrImagePull,
	} {
		err := classify("x", errors.New(text))
		if !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: got %v, want kind %v with the registry's words", text, err, want)
		}
	}
	if err := classify("x", errdefs.ErrNotFound); !errors.Is(err, ErrImageNotFound) {
		t.Errorf("a typed error gives %v", err)
	}
}

func TestLoadedLines(t *testing.T) {
	got := loadedLine.FindStringSubmatch("Loaded image: todo-frontend:v1\n")
	if len(got) != 2 || got[1] != "todo-frontend:v1" {
		t.Errorf("got %q", got)
	}
}
