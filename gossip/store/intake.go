package store

import (
	"errors"
	"fmt"
)

// What comes over the wire becomes an input here, bounded, decoded and verified. Nothing here steps the core, so any
// goroutine may do it.

// arrived reads a frame of gossip. An error means that it is poison; ok is false where there is nothing to step, and behind
// says that the frame announced a record that is missing here.
func (r *replica) arrived(from string, frame []byte) (ev event, ok, behind bool, err error) {
	switch {
	case len(frame) > maxInline:
		err = fmt.Errorf("%d bytes: %w", len(frame), ErrPoison)
	case len(frame) > 0 && frame[0] >= optional:
		return ev, false, false, nil // of a later version: somebody else may know it
	case len(frame) > 0 && frame[0] == frameAnnounce:
		behind, err = r.announced(frame)
	default:
		ev.receive, err = r.opened(frame)
	}
	if err != nil {
		return event{}, false, false, fmt.Errorf("frame from %s: %w", from, err)
	}
	return ev, len(ev.receive) > 0 && r.Health() == nil, behind, nil
}

// announced reads the stamp and hash of a record too large for gossip.
func (r *replica) announced(frame []byte) (missing bool, err error) {
	a, err := decodeAnnouncement(frame)
	if err != nil {
		return false, err
	}
	_, known := r.known.Load().set.get(a)
	return !known, nil
}

func (r *replica) opened(frame []byte) ([]*Record, error) {
	recs, err := decodeFrame(frame)
	if err != nil {
		return nil, err
	}
	return r.verify(recs)
}

// verify checks the signatures of the records that are new and returns these.
func (r *replica) verify(recs []*Record) ([]*Record, error) {
	set := r.known.Load().set
	news := make([]*Record, 0, len(recs))
	for _, rec := range recs {
		if _, known := set.get(rec); known || r.skips != nil && r.skips(rec.hash) {
			continue
		}
		if r.cfg.Verify == nil {
			return nil, fmt.Errorf("%w: nothing to check signatures with", ErrPoison)
		}
		if err := r.cfg.Verify(rec.Dot.Actor, rec.msg, rec.sig); err != nil {
			return nil, fmt.Errorf("%w: signature of %s: %w", ErrPoison, rec.Dot.Actor, err)
		}
		news = append(news, rec)
	}
	return news, nil
}

// proposal reads what an author asks this node to serialise: its own change of one key, and tombstones of that key, by
// whomever, on which the change relies. All of it is judged, also what came by gossip meanwhile.
func (r *replica) proposal(from string, frame []byte) (ev event, err error) {
	recs, err := decodeFrame(frame)
	if err == nil {
		_, err = r.verify(recs)
	}
	creation := len(recs) > 0 && len(recs[0].context) == 0
	for i, rec := range recs {
		switch {
		case r.skips != nil && r.skips(rec.hash):
			err = errors.Join(err, errors.New("this node skips the record: it ended the process once"))
		case rec.Key != recs[0].Key || rec.Part != Intent || i > 0 && rec.Op != Delete || rec.Dot.Actor != from && !(i > 0 && creation):
			err = errors.Join(err, fmt.Errorf("%w: a proposal is one author's change of one key", ErrPoison))
		case i > 0 && creation:
			ev.relied = append(ev.relied, rec)
		default:
			ev.judge = append(ev.judge, rec)
		}
	}
	if err == nil && len(ev.judge) == 0 {
		err = fmt.Errorf("%w: a proposal without a change by its author", ErrPoison)
	}
	if err == nil {
		err = r.Health()
	}
	if err != nil {
		return event{}, fmt.Errorf("proposal from %s: %w", from, err)
	}
	return ev, nil
}

// A proposal's answer is the verdict and, where it was refused, a frame of what the home has.
func encodeVerdict(v verdict, current []*Record) []byte {
	return append([]byte{byte(v)}, encodeFrame(current)...)
}

// answered reads a home's answer to the proposal of a write, or notes that there was none.
func (r *replica) answered(write uint64, reply []byte, err error) event {
	p := &proposed{write: write, err: err}
	if err == nil {
		p.verdict, p.current, p.err = decodeVerdict(reply)
	}
	if p.err == nil {
		p.current, p.err = r.verify(p.current)
	}
	return event{proposed: p}
}

func decodeVerdict(b []byte) (verdict, []*Record, error) {
	if len(b) < 2 || verdict(b[0]) > gone {
		return 0, nil, fmt.Errorf("%w: malformed verdict", ErrPoison)
	}
	recs, err := decodeFrame(b[1:])
	return verdict(b[0]), recs, err
}
