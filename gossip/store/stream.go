package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Reconcile talks to a peer's ServeReconcile over rw until both hold the same records. It does not close rw. Where rw has
// SetDeadline, every frame gets 60 s; ctx is looked at between frames.
func (s *Store) Reconcile(ctx context.Context, rw io.ReadWriter) (Stats, error) {
	return s.reconcile(ctx, rw, true)
}

// ServeReconcile is the other end of Reconcile.
func (s *Store) ServeReconcile(ctx context.Context, rw io.ReadWriter) (Stats, error) {
	return s.reconcile(ctx, rw, false)
}

// reconcile carries a session's frames. What came is verified and on disk before the next frame is read: the peer is held
// back by the pace of ours.
func (s *Store) reconcile(ctx context.Context, rw io.ReadWriter, first bool) (Stats, error) {
	sess, c := s.session(first), conn{rw: rw}
	err := s.converse(ctx, sess, &c)
	sess.stats.Out, sess.stats.In = c.out, c.in
	if err != nil {
		return sess.stats, fmt.Errorf("reconcile: %w", err)
	}
	return sess.stats, nil
}

func (s *Store) converse(ctx context.Context, sess *session, c *conn) error {
	for {
		for f := sess.next(); f != nil; f = sess.next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			c.deadline()
			if err := c.write(f); err != nil {
				return err
			}
		}
		if sess.over {
			return s.conclude(ctx, sess)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		c.deadline()
		f, err := c.read()
		if err != nil {
			return err
		}
		recs, err := sess.hear(f)
		if err != nil {
			return err
		}
		if recs, err = s.verify(recs); err != nil || len(recs) == 0 {
			if err != nil {
				return err
			}
			continue
		}
		r, err := s.ask(ctx, event{receive: recs})
		if err != nil {
			return err
		}
		sess.stats.Merged += len(r.current)
	}
}

// conclude tells the core what the meeting proved, now that both sides hold what the other held.
func (s *Store) conclude(ctx context.Context, sess *session) error {
	if m := sess.meeting(); m != nil {
		return s.hand(ctx, event{met: m})
	}
	return nil
}

// conn frames a stream by lengths and counts its bytes.
type conn struct {
	rw      io.ReadWriter
	in, out int64
}

func (c *conn) deadline() {
	if d, ok := c.rw.(interface{ SetDeadline(time.Time) error }); ok {
		_ = d.SetDeadline(time.Now().Add(turnTimeout))
	}
}

func (c *conn) write(frame []byte) error {
	b := append(binary.AppendUvarint(make([]byte, 0, len(frame)+4), uint64(len(frame))), frame...)
	n, err := c.rw.Write(b)
	c.out += int64(n)
	return err
}

func (c *conn) read() ([]byte, error) {
	n := uint64(0)
	for shift := 0; ; shift += 7 {
		var one [1]byte
		if _, err := io.ReadFull(c.rw, one[:]); err != nil {
			return nil, err
		}
		c.in++
		n |= uint64(one[0]&0x7f) << shift
		if one[0] < 0x80 {
			break
		}
		if shift > 21 {
			return nil, errShort
		}
	}
	if n > maxTurn {
		return nil, fmt.Errorf("frame of %d bytes: %w", n, errShort)
	}
	b := make([]byte, n)
	k, err := io.ReadFull(c.rw, b)
	c.in += int64(k)
	return b, err
}
