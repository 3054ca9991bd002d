package gossip

import (
	"context"
	"fmt"
	"io"
	"time"
)

// RemoteError is what the far side's handler returned, in its own words.
type RemoteError struct {
	From ID
	Text string
}

func (e *RemoteError) Error() string { return e.Text }

const (
	replyOK     = 0
	replyFailed = 1
)

// Call sends one request of at most 4 MiB and waits for its reply. Errors of the far side's handler come as *RemoteError.
// Without a deadline in ctx it takes at most 30 s.
func (m *Mesh) Call(ctx context.Context, to ID, protocol string, request []byte) ([]byte, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	s, err := m.Dial(ctx, to, protocol)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	reply, err := exchange(ctx, to, s, request)
	if err != nil {
		_ = s.Reset()
		return nil, fmt.Errorf("call %s at %s: %w", protocol, to, err)
	}
	return reply, nil
}

func exchange(ctx context.Context, to ID, s Stream, request []byte) ([]byte, error) {
	if d, ok := ctx.Deadline(); ok {
		if err := s.SetDeadline(d); err != nil {
			return nil, err
		}
	}
	if err := writeFrame(s, request); err != nil {
		return nil, fmt.Errorf("send the request: %w", err)
	}
	if err := s.CloseWrite(); err != nil {
		return nil, fmt.Errorf("send the request: %w", err)
	}
	var status [1]byte
	if _, err := io.ReadFull(s, status[:]); err != nil {
		return nil, fmt.Errorf("read the reply: %w", err)
	}
	reply, err := readFrame(s, maxFrame)
	if err != nil {
		return nil, fmt.Errorf("read the reply: %w", err)
	}
	if status[0] != replyOK {
		return nil, &RemoteError{From: to, Text: string(reply)}
	}
	return reply, nil
}

// Serve answers Calls of a protocol. The handler's context ends after 2 minutes or with Run; its error reaches the caller as
// text (4 KiB at most).
func (m *Mesh) Serve(protocol string, h func(ctx context.Context, from ID, request []byte) ([]byte, error)) {
	m.Handle(protocol, func(ctx context.Context, from ID, s Stream) {
		defer s.Close()
		ctx, cancel := context.WithTimeout(ctx, serveTimeout)
		defer cancel()
		if err := serveOne(ctx, from, s, h); err != nil {
			m.log.Debug("could not answer a call", "protocol", protocol, "peer", from, "error", err)
			_ = s.Reset()
		}
	})
}

func serveOne(ctx context.Context, from ID, s Stream, h func(context.Context, ID, []byte) ([]byte, error)) error {
	if err := s.SetDeadline(time.Now().Add(serveTimeout)); err != nil {
		return err
	}
	request, err := readFrame(s, maxFrame)
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	status, reply := byte(replyOK), []byte(nil)
	if reply, err = h(ctx, from, request); err != nil {
		text := err.Error()
		status, reply = replyFailed, []byte(text[:min(len(text), maxErrText)])
	} else if len(reply) > maxFrame {
		status, reply = replyFailed, fmt.Appendf(nil, "the reply of %d bytes is over the limit of %d", len(reply), maxFrame)
	}
	if _, err := s.Write([]byte{status}); err != nil {
		return fmt.Errorf("send the reply: %w", err)
	}
	return writeFrame(s, reply)
}
