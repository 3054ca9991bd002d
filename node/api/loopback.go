package api

import (
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
)

// loopback lets the rooms of this process talk with the API without a socket, TLS or HTTP/2: plain HTTP/1.1 over pipes
// in memory. A random token, known only here, stands for this server's own identity.
type loopback struct {
	pipes *pipes
	token string
}

func newLoopback() *loopback {
	return &loopback{pipes: newPipes(), token: rand.Text()}
}

func (l *loopback) config() *rest.Config {
	return &rest.Config{
		Host:        "http://orpheus-api.internal",
		BearerToken: l.token,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return l.pipes.dial(ctx)
		},
		QPS: -1,
		ContentConfig: rest.ContentConfig{
			ContentType:        "application/vnd.kubernetes.protobuf",
			AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json",
		},
	}
}

// inHouse marks the contexts of requests that come this way, whomever they impersonate.
type inHouse struct{}

// serve answers until ctx ends, then cuts what still runs: the rooms that use it stop before the API does.
func (l *loopback) serve(ctx context.Context, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second, MaxHeaderBytes: 1 << 20}
	server.BaseContext = func(net.Listener) context.Context { return context.WithValue(context.Background(), inHouse{}, true) }
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l.pipes); ctx.Err() == nil {
		return err
	}
	return ctx.Err()
}
