package images

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip"
)

// Protocols between the image rooms of two servers.
const (
	haveProtocol = "/orpheus/image/have/1"
	sendProtocol = "/orpheus/image/send/1"
)

const (
	askTimeout  = 3 * time.Second
	sendTimeout = 15 * time.Minute
	sendsAtOnce = 4 // images that one server streams to others at a time
)

// Mesh is how this room reaches its peers.
type Mesh interface {
	Self() gossip.Member
	Members() []gossip.Member
	Dial(ctx context.Context, to gossip.ID, protocol string) (gossip.Stream, error)
	Call(ctx context.Context, to gossip.ID, protocol string, request []byte) ([]byte, error)
	Handle(protocol string, h func(context.Context, gossip.ID, gossip.Stream))
	Serve(protocol string, h func(context.Context, gossip.ID, []byte) ([]byte, error))
}

// question asks for an image by ID, or by reference where no ID is known; answer names the ID.
type question struct {
	ID  string `json:"id,omitempty"`
	Ref string `json:"ref,omitempty"`
}

type answer struct {
	ID    string `json:"id,omitempty"`
	Error string `json:"error,omitempty"`
}

func (d *Depot) serve() {
	d.mesh.Serve(haveProtocol, func(ctx context.Context, _ gossip.ID, req []byte) ([]byte, error) {
		var q question
		if err := json.Unmarshal(req, &q); err != nil {
			return nil, fmt.Errorf("read question: %w", err)
		}
		return json.Marshal(d.have(ctx, q))
	})
	d.mesh.Handle(sendProtocol, func(ctx context.Context, _ gossip.ID, s gossip.Stream) {
		defer s.Close()
		if err := d.send(ctx, s); err != nil {
			d.log.Debug("image not sent", "error", err)
		}
	})
}

func (d *Depot) have(ctx context.Context, q question) answer {
	name := q.ID
	if name == "" {
		name = q.Ref
	}
	id, err := d.engine.imageID(ctx, name)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{ID: id}
}

// send answers one request on s with a line of JSON and, when it has the image, the archive.
func (d *Depot) send(ctx context.Context, s gossip.Stream) error {
	select {
	case d.sends <- struct{}{}:
		defer func() { <-d.sends }()
	default:
		return json.NewEncoder(s).Encode(answer{Error: "busy sending other images"})
	}
	if err := s.SetDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	line, err := bufio.NewReader(io.LimitReader(s, 4096)).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	var q question
	if err := json.Unmarshal(line, &q); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	a := d.have(ctx, q)
	if err := json.NewEncoder(s).Encode(a); err != nil || a.Error != "" {
		return err
	}
	archive, err := d.engine.save(ctx, saveNames(q, a.ID))
	if err != nil {
		return fmt.Errorf("save %s: %w", a.ID, err)
	}
	defer archive.Close()
	if _, err := io.Copy(s, archive); err != nil {
		return fmt.Errorf("send %s: %w", a.ID, err)
	}
	return s.CloseWrite()
}

func saveNames(q question, id string) string {
	if q.ID == "" {
		return q.Ref
	}
	return id
}

// fromPeers streams the image from the first live peer that has it; ErrImageNotFound when none does.
func (d *Depot) fromPeers(ctx context.Context, q question) (string, error) {
	holders := d.holders(ctx, q)
	if len(holders) == 0 {
		return "", fmt.Errorf("%w on any peer in sight", ErrImageNotFound)
	}
	var errs []error
	for _, h := range holders {
		id, err := d.fetch(ctx, h, q)
		if err == nil {
			d.log.Info("image came from a peer", "image", id, "peer", h)
			return id, nil
		}
		errs = append(errs, fmt.Errorf("from %s: %w", h, err))
	}
	return "", errors.Join(errs...)
}

// holders asks all live peers at once and lists those that have the image, the quickest first.
func (d *Depot) holders(ctx context.Context, q question) []gossip.ID {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := json.Marshal(q)
	if err != nil {
		return nil
	}
	self := d.mesh.Self().ID
	found := make(chan gossip.ID)
	asked := 0
	for _, m := range d.mesh.Members() {
		if m.ID == self || m.State != gossip.Alive {
			continue
		}
		asked++
		go func() {
			var a answer
			reply, err := d.mesh.Call(ctx, m.ID, haveProtocol, req)
			if err != nil || json.Unmarshal(reply, &a) != nil || a.ID == "" {
				found <- ""
				return
			}
			found <- m.ID
		}()
	}
	var holders []gossip.ID
	for range asked {
		if id := <-found; id != "" {
			holders = append(holders, id)
		}
	}
	return holders
}

func (d *Depot) fetch(ctx context.Context, from gossip.ID, q question) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	s, err := d.mesh.Dial(ctx, from, sendProtocol)
	if err != nil {
		return "", err
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := json.NewEncoder(s).Encode(q); err != nil {
		return "", err
	}
	in := bufio.NewReaderSize(s, 64<<10)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return "", err
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return "", err
	}
	if a.Error != "" {
		return "", errors.New(a.Error)
	}
	if q.ID != "" && a.ID != q.ID {
		return "", fmt.Errorf("%w: %s instead of %s", ErrWrongImage, a.ID, q.ID)
	}
	if err := d.engine.load(ctx, in); err != nil {
		return "", err
	}
	got, err := d.engine.imageID(ctx, a.ID)
	if err != nil || got != a.ID {
		return "", fmt.Errorf("%w: %s was promised: %w", ErrWrongImage, a.ID, err)
	}
	return got, nil
}
