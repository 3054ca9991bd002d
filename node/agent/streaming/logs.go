package streaming

import (
	"errors"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/core/install" // teaches the codec PodLogOptions

	"github.com/orpheus-mesh/orpheus/node/docker"
)

// logs answers with a container's output as plain text, as PodLogOptions ask.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	var o corev1.PodLogOptions
	if err := legacyscheme.ParameterCodec.DecodeParameters(r.URL.Query(), corev1.SchemeGroupVersion, &o); err != nil {
		http.Error(w, "log options: "+err.Error(), http.StatusBadRequest)
		return
	}
	t, err := s.cfg.Pods.Logged(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"), o.Previous)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	out := &flusher{w: w, left: -1}
	if o.LimitBytes != nil {
		out.left = *o.LimitBytes
	}
	stdout, stderr := chosen(o.Stream, out)
	err = s.cfg.Engine.Logs(r.Context(), t.ID, options(o, t), stdout, stderr)
	if err != nil && !errors.Is(err, errEnough) && r.Context().Err() == nil {
		if !out.wrote {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		s.cfg.Log.Debug("logs cut short", "container", t.ID, "error", err)
	}
}

func options(o corev1.PodLogOptions, t Target) docker.LogOptions {
	l := docker.LogOptions{Follow: o.Follow, Timestamps: o.Timestamps, Tail: -1, TTY: t.TTY}
	if o.TailLines != nil {
		l.Tail = *o.TailLines
	}
	if o.SinceSeconds != nil {
		l.Since = time.Now().Add(-time.Duration(*o.SinceSeconds) * time.Second)
	}
	if o.SinceTime != nil {
		l.Since = o.SinceTime.Time
	}
	return l
}

func chosen(stream *string, w io.Writer) (out, errs io.Writer) {
	if stream == nil || *stream == corev1.LogStreamAll || *stream == "" {
		return w, w
	}
	if *stream == corev1.LogStreamStderr {
		return nil, w
	}
	return w, nil
}

// errEnough ends a copy at the bytes that were asked for.
var errEnough = errors.New("limit of bytes reached")

// flusher sends every piece at once, so that a follower sees lines as they come.
type flusher struct {
	w     http.ResponseWriter
	left  int64 // bytes; below zero: no limit
	wrote bool
}

func (f *flusher) Write(b []byte) (int, error) {
	f.wrote = true
	cut := f.left >= 0 && int64(len(b)) > f.left
	if cut {
		b = b[:f.left]
	}
	n, err := f.w.Write(b)
	if f.left >= 0 {
		f.left -= int64(n)
	}
	if fl, ok := f.w.(http.Flusher); ok {
		fl.Flush()
	}
	if err == nil && cut {
		err = errEnough
	}
	return n, err
}
