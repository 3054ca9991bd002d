package store

import (
	"context"
	"fmt"
)

// Receive takes a frame that a peer published. An error means that the frame is poison (ErrPoison) and must not be relayed;
// ErrFlood means that it must not be relayed either. What could not be
// merged for want of room or time is no error, for reconciliation brings it again. It returns once the
// core has the records, which may be before they are on disk.
func (s *Store) Receive(from string, frame []byte) error {
	ev, ok, behind, err := s.arrived(from, frame)
	if behind && s.cfg.Behind != nil {
		s.cfg.Behind(from)
	}
	if err != nil || !ok {
		return err
	}
	if author, ok := s.allowed(ev.receive); !ok {
		return fmt.Errorf("frame from %s: %d records by %s: %w", from, len(ev.receive), author, ErrFlood)
	}
	ctx, cancel := context.WithTimeout(context.Background(), receiveTimeout)
	defer cancel()
	if err := s.hand(ctx, ev); err != nil {
		s.log.Debug("frame dropped", "from", from, "error", err)
	}
	return nil
}

// allowed charges the authors of records that gossip brought. One over its rate holds up the frame; mostly it is the only one
// in it.
func (s *Store) allowed(recs []*Record) (over string, ok bool) {
	if s.cfg.Allow == nil {
		return "", true
	}
	for len(recs) > 0 {
		author, n, bytes := recs[0].Dot.Actor, 0, 0
		for n < len(recs) && recs[n].Dot.Actor == author {
			bytes += recs[n].size()
			n++
		}
		if !s.cfg.Allow(author, n, bytes) {
			return author, false
		}
		recs = recs[n:]
	}
	return "", true
}

// propose asks the home in a goroutine of its own, which Run waits for.
func (s *Store) propose(ctx context.Context, p *Question) {
	s.calls.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
		defer cancel()
		reply, err := s.cfg.Propose(ctx, p.Home, p.Frame)
		ev := s.answered(p.Write, reply, err)
		if err := ev.proposed.err; err != nil {
			s.log.Debug("home out of reach, serialised here", "home", p.Home, "error", err)
		}
		select {
		case s.in <- ev:
		case <-s.stopped:
		}
	})
}

// HandlePropose is the home's side of Config.Propose. The answer is ready once an accepted record is on disk here. An
// error means that this node cannot serialise at the moment, and the author does.
func (s *Store) HandlePropose(ctx context.Context, from string, frame []byte) ([]byte, error) {
	ev, err := s.proposal(from, frame)
	if err != nil {
		return nil, err
	}
	r, err := s.ask(ctx, ev)
	if err != nil {
		return nil, fmt.Errorf("proposal from %s: %w", from, err)
	}
	return encodeVerdict(r.verdict, r.current), nil
}
