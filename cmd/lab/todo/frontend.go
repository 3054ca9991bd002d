package main

import (
	"context"
	_ "embed"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

//go:embed page.html
var pageText string

// frontend serves the page and hands /api on.
type frontend struct {
	*http.ServeMux
	s    settings
	page *template.Template
}

func newFrontend(s settings, log *slog.Logger) (*frontend, error) {
	backend, err := url.Parse(s.backend)
	if err != nil {
		return nil, err
	}
	page, err := template.New("page").Parse(pageText)
	if err != nil {
		return nil, err
	}
	f := &frontend{ServeMux: http.NewServeMux(), s: s, page: page}
	f.HandleFunc("GET /{$}", f.home)
	f.Handle("/api/", &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(backend); r.SetXForwarded() },
		Transport: newRetry(),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			log.Warn("back end failed", "path", r.URL.Path, "error", err)
			http.Error(w, "back end: "+err.Error(), http.StatusBadGateway)
		},
	})
	return f, nil
}

// ready does not ask the back end: a page that says what is wrong is better than none.
func (f *frontend) ready(context.Context) error { return nil }

func (f *frontend) home(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = f.page.Execute(w, map[string]string{"Version": f.s.version, "Host": f.s.host}) // the client may be gone
}

// retry asks a second time, on a new connection, where that cannot do harm: a replica may have died in between.
type retry struct{ t *http.Transport }

func newRetry() retry {
	return retry{&http.Transport{
		DialContext:           (&net.Dialer{Timeout: 700 * time.Millisecond}).DialContext,
		ResponseHeaderTimeout: 900 * time.Millisecond,
		IdleConnTimeout:       2 * time.Second,
		MaxIdleConnsPerHost:   16,
		MaxConnsPerHost:       256,
	}}
}

func (r retry) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.t.RoundTrip(req)
	harmless := (req.Method == http.MethodGet || req.Method == http.MethodHead) && (req.Body == nil || req.Body == http.NoBody)
	if err == nil || !harmless || req.Context().Err() != nil {
		return resp, err
	}
	r.t.CloseIdleConnections()
	return r.t.RoundTrip(req.Clone(req.Context()))
}
