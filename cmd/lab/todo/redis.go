package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

const (
	redisTimeout = 1500 * time.Millisecond
	redisIdle    = 8       // connections kept
	redisLimit   = 1 << 20 // bytes in one reply
)

// redis speaks RESP, version 2. It is safe for concurrent use: every call has a connection for itself.
type redis struct {
	addr   string
	secret func() (string, error)
	idle   chan *redisConn
}

func newRedis(addr string, secret func() (string, error)) *redis {
	return &redis{addr: addr, secret: secret, idle: make(chan *redisConn, redisIdle)}
}

type redisConn struct {
	net.Conn
	r *bufio.Reader
}

// refusal is Redis's own "no"; the connection is still good.
type refusal string

func (r refusal) Error() string { return "redis: " + string(r) }

// do sends a command and returns a string, an int64, nil, or a []any of these. A kept connection that turns out to be
// dead is replaced once, so commands may be run twice: the ones used here may.
func (d *redis) do(ctx context.Context, args ...string) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	select {
	case c := <-d.idle:
		v, err := d.on(ctx, c, args)
		if err == nil || errors.As(err, new(refusal)) {
			return v, err
		}
		d.forget() // the others were opened to the same Redis
	default:
	}
	c, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	return d.on(ctx, c, args)
}

func (d *redis) forget() {
	for {
		select {
		case c := <-d.idle:
			c.Close()
		default:
			return
		}
	}
}

func (d *redis) connect(ctx context.Context) (*redisConn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", d.addr)
	if err != nil {
		return nil, fmt.Errorf("reach redis: %w", err)
	}
	c := &redisConn{conn, bufio.NewReader(conn)}
	secret, err := d.secret()
	if err == nil && secret != "" {
		_, err = c.ask(ctx, "AUTH", secret)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// on asks on a connection and keeps it when it is still good.
func (d *redis) on(ctx context.Context, c *redisConn, args []string) (any, error) {
	v, err := c.ask(ctx, args...)
	if err == nil || errors.As(err, new(refusal)) {
		select {
		case d.idle <- c:
			return v, err
		default:
		}
	}
	c.Close()
	return v, err
}

func (c *redisConn) ask(ctx context.Context, args ...string) (any, error) {
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return nil, err
	}
	out := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		out = fmt.Appendf(out, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := c.Write(out); err != nil {
		return nil, fmt.Errorf("write to redis: %w", err)
	}
	return reply(c.r, 0)
}

func reply(r *bufio.Reader, depth int) (any, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("read from redis: %w", err)
	}
	if len(line) < 3 || depth > 2 {
		return nil, fmt.Errorf("redis sent %q", line)
	}
	kind, rest := line[0], line[1:len(line)-2]
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return nil, refusal(rest)
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	switch {
	case err != nil || kind != ':' && (n > redisLimit || n < -1):
		return nil, fmt.Errorf("redis sent %q", line)
	case kind == ':':
		return n, nil
	case n == -1:
		return nil, nil
	case kind == '$':
		text := make([]byte, n+2)
		_, err := io.ReadFull(r, text)
		return string(text[:n]), err
	case kind == '*':
		var list []any
		for range n {
			v, err := reply(r, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	}
	return nil, fmt.Errorf("redis sent %q", line)
}
