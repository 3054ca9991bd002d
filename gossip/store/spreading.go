package store

import (
	"context"
	"fmt"
)

// Receive takes a frame that a peer published. An error means that the frame is poison (ErrPoison) and must not be relayed;
// what could not be merged for want of room or time is no error, for reconciliation brings it again. It returns once the
// core has the records, which may be before they are on disk.
func (s *Store) Receive(from string, frame []byte) error {
	if len(frame) > 0 && frame[0] == frameAnnounce {
		return s.announced(from, frame)
	}
	if len(frame) > maxInline {
		return fmt.Errorf("frame of %d bytes from %s: %w", len(frame), from, ErrPoison)
	}
	recs, err := decodeFrame(frame)
	if err != nil {
		return fmt.Errorf("frame from %s: %w", from, err)
	}
	if recs, err = s.verify(recs); err != nil {
		return fmt.Errorf("frame from %s: %w", from, err)
	}
	if len(recs) == 0 || s.Health() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), receiveTimeout)
	defer cancel()
	if err := s.hand(ctx, event{receive: recs}); err != nil {
		s.log.Debug("frame dropped", "from", from, "error", err)
	}
	return nil
}

// announced notes a record too large for gossip; where it is missing, the peer that told is worth a reconciliation.
func (s *Store) announced(from string, frame []byte) error {
	r, err := decodeAnnouncement(frame)
	if err != nil {
		return fmt.Errorf("announcement of %d bytes from %s: %w", len(frame), from, err)
	}
	if _, known := s.set.Load().get(r); !known && s.cfg.Behind != nil {
		s.cfg.Behind(from)
	}
	return nil
}

// verify checks the signatures of the records that are new and returns these.
func (s *Store) verify(recs []*Record) ([]*Record, error) {
	set := s.set.Load()
	news := recs[:0]
	for _, r := range recs {
		if _, known := set.get(r); known {
			continue
		}
		if s.cfg.Verify == nil {
			return nil, fmt.Errorf("%w: nothing to check signatures with", ErrPoison)
		}
		if err := s.cfg.Verify(r.Dot.Actor, r.msg, r.sig); err != nil {
			return nil, fmt.Errorf("%w: signature of %s: %w", ErrPoison, r.Dot.Actor, err)
		}
		news = append(news, r)
	}
	return news, nil
}

// propose asks the home in a goroutine of its own, which Run waits for.
func (s *Store) propose(ctx context.Context, p *proposal) {
	s.calls.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
		defer cancel()
		a := &proposed{write: p.write}
		reply, err := s.cfg.Propose(ctx, p.home, encodeFrame(p.recs))
		if err == nil {
			a.verdict, a.current, err = decodeVerdict(reply)
		}
		if err == nil {
			a.current, err = s.verify(a.current)
		}
		if a.err = err; err != nil {
			s.log.Debug("home out of reach, serialised here", "home", p.home, "key", p.recs[0].Key, "error", err)
		}
		select {
		case s.in <- event{proposed: a}:
		case <-s.stopped:
		}
	})
}

// A proposal's answer is the verdict and, where it was refused, a frame of what the home has.
func encodeVerdict(v verdict, current []*Record) []byte {
	return append([]byte{byte(v)}, encodeFrame(current)...)
}

func decodeVerdict(b []byte) (verdict, []*Record, error) {
	if len(b) < 2 || verdict(b[0]) > gone {
		return 0, nil, fmt.Errorf("%w: malformed verdict", ErrPoison)
	}
	recs, err := decodeFrame(b[1:])
	return verdict(b[0]), recs, err
}

// HandlePropose is the home's side of Config.Propose. The answer is ready once an accepted record is on disk here. An
// error means that this node cannot serialise at the moment, and the author does.
func (s *Store) HandlePropose(ctx context.Context, from string, frame []byte) ([]byte, error) {
	recs, err := decodeFrame(frame)
	if err == nil && (len(recs) == 0 || !oneKey(recs, from)) {
		err = fmt.Errorf("%w: a proposal is one author's change of one key", ErrPoison)
	}
	if err == nil {
		// All of it is judged, also what came by gossip meanwhile; so only look at the new ones' signatures.
		_, err = s.verify(append([]*Record(nil), recs...))
	}
	if err == nil {
		err = s.Health()
	}
	if err != nil {
		return nil, fmt.Errorf("proposal from %s: %w", from, err)
	}
	r, err := s.ask(ctx, event{judge: recs})
	if err != nil {
		return nil, fmt.Errorf("proposal from %s: %w", from, err)
	}
	return encodeVerdict(r.verdict, r.current), nil
}

func oneKey(recs []*Record, from string) bool {
	for _, r := range recs {
		if r.Key != recs[0].Key || r.Part != Intent || r.Dot.Actor != from {
			return false
		}
	}
	return true
}
