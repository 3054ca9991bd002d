package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"
)

// Client talks to the daemon on this server.
type Client struct {
	socket string
	http   http.Client
}

// Dial makes a client of the daemon whose socket is named; it connects at the first call.
func Dial(socket string) *Client {
	c := &Client{socket: socket}
	c.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	return c
}

func (c *Client) do(ctx context.Context, method, path string, body io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://orpheus"+path, body)
	if err != nil {
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return c.explain(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		var f failure
		if json.NewDecoder(res.Body).Decode(&f) == nil && f.Error != "" {
			return errors.New(f.Error)
		}
		return fmt.Errorf("the daemon answered %s", res.Status)
	}
	return json.NewDecoder(res.Body).Decode(out)
}

// explain turns the kernel's word about the socket into what the operator can do.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no orpheus daemon answers on %s: start it with `orpheus up`, or name its directory with --run-dir", c.socket)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s may be opened by root only: run this command as root", c.socket)
	}
	return fmt.Errorf("ask the daemon on %s: %w", c.socket, err)
}

func (c *Client) post(ctx context.Context, path string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPost, path, bytes.NewReader(b), out)
}

func get[T any](ctx context.Context, c *Client, path string) (v T, err error) {
	err = c.do(ctx, http.MethodGet, path, nil, &v)
	return v, err
}

func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/v1/status")
}
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	return get[[]Member](ctx, c, "/v1/members")
}
func (c *Client) Conflicts(ctx context.Context) ([]Conflict, error) {
	return get[[]Conflict](ctx, c, "/v1/conflicts")
}
func (c *Client) Images(ctx context.Context) ([]Image, error) {
	return get[[]Image](ctx, c, "/v1/images")
}

// CreateToken makes a single-use join token that is good for ttl.
func (c *Client) CreateToken(ctx context.Context, ttl time.Duration) (token string, err error) {
	err = c.post(ctx, "/v1/token", TokenRequest{ttl}, &token)
	return token, err
}

// Kubeconfig makes a client certificate for the user and wraps it for kubectl; server "" means this server.
func (c *Client) Kubeconfig(ctx context.Context, r KubeconfigRequest) (b []byte, err error) {
	err = c.post(ctx, "/v1/kubeconfig", r, &b)
	return b, err
}

// LoadImage feeds a docker-save archive to the engine and tells the mesh.
func (c *Client) LoadImage(ctx context.Context, archive io.Reader) (recs []Image, err error) {
	err = c.do(ctx, http.MethodPost, "/v1/images/load", archive, &recs)
	return recs, err
}

// RememberImage tells the mesh of an image that the engine has.
func (c *Client) RememberImage(ctx context.Context, ref string) (rec Image, err error) {
	err = c.do(ctx, http.MethodPost, "/v1/images/remember?ref="+url.QueryEscape(ref), nil, &rec)
	return rec, err
}

// Fence declares the node's pods lost, or takes that back.
func (c *Client) Fence(ctx context.Context, node string, lift bool) error {
	path := "/v1/fence/" + url.PathEscape(node)
	if lift {
		path += "?lift"
	}
	var none any
	return c.do(ctx, http.MethodPost, path, nil, &none)
}

// Backup copies the whole mesh as this server has it, in the clear.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://orpheus/v1/backup", nil)
	if err != nil {
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return c.explain(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the daemon answered %s", res.Status)
	}
	if _, err := io.Copy(w, res.Body); err != nil {
		return fmt.Errorf("read the backup from the daemon: %w; its log says why", err)
	}
	return nil
}

// Merge takes a backup's records into the mesh.
func (c *Client) Merge(ctx context.Context, snapshot io.Reader) (m Merged, err error) {
	err = c.do(ctx, http.MethodPost, "/v1/restore", snapshot, &m)
	return m, err
}

// Lost lists lost-and-found on this server.
func (c *Client) Lost(ctx context.Context) ([]Lost, error) { return get[[]Lost](ctx, c, "/v1/lost") }

// AdmitLost takes an entry back, in the place of an object of its name where replace is set.
func (c *Client) AdmitLost(ctx context.Context, id string, replace bool) error {
	path := "/v1/lost/" + url.PathEscape(id)
	if replace {
		path += "?replace"
	}
	var none any
	return c.do(ctx, http.MethodPost, path, nil, &none)
}

// DropLost throws an entry away.
func (c *Client) DropLost(ctx context.Context, id string) error {
	var none any
	return c.do(ctx, http.MethodDelete, "/v1/lost/"+url.PathEscape(id), nil, &none)
}

// Evict declares that a server will not come back.
func (c *Client) Evict(ctx context.Context, nameOrID string, force bool) (m Member, err error) {
	path := "/v1/evict/" + url.PathEscape(nameOrID)
	if force {
		path += "?force"
	}
	err = c.do(ctx, http.MethodPost, path, nil, &m)
	return m, err
}

// RotateSecrets encrypts all Secrets anew and tells how many.
func (c *Client) RotateSecrets(ctx context.Context) (n int, err error) {
	err = c.do(ctx, http.MethodPost, "/v1/secrets/rotate", nil, &n)
	return n, err
}

// Restart has the daemon give way to the image at its path, and tells that one's version. The daemon answers before it goes.
func (c *Client) Restart(ctx context.Context) (version string, err error) {
	err = c.do(ctx, http.MethodPost, "/v1/restart", nil, &version)
	return version, err
}

// Explain asks where a pod is or would go, and why.
func (c *Client) Explain(ctx context.Context, namespace, pod string) (Explanation, error) {
	return get[Explanation](ctx, c, "/v1/explain/"+url.PathEscape(namespace)+"/"+url.PathEscape(pod))
}

// Forecast asks where the pods of manifests would go. Nothing is written.
func (c *Client) Forecast(ctx context.Context, r ForecastRequest) (f Forecast, err error) {
	err = c.post(ctx, "/v1/forecast", r, &f)
	return f, err
}
