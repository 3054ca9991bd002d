package gossip

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// spread carries the store's frames by gossipsub on one topic. Records are signed by their authors, so that messages are
// not; a message is named by the hash of its bytes. In meshes of up to 16 members a message goes to everybody directly.
type spread struct {
	link  *link
	topic *pubsub.Topic
	sub   *pubsub.Subscription
	queue chan []byte
}

func newSpread(ctx context.Context, n *link) (*spread, error) {
	params := pubsub.DefaultGossipSubParams()
	params.D, params.Dlo, params.Dhi, params.Dscore, params.Dout = 16, 12, 24, 8, 4
	ps, err := pubsub.NewGossipSub(ctx, n.gate,
		pubsub.WithGossipSubParams(params),
		pubsub.WithFloodPublish(true),
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
		pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(messageID),
		pubsub.WithMaxMessageSize(maxGossip),
		pubsub.WithPeerOutboundQueueSize(relayQueue),
		pubsub.WithValidateQueueSize(relayQueue),
		pubsub.WithPeerFilter(func(id peer.ID, _ string) bool { return n.admission.has(id) }),
		pubsub.WithLogger(slog.New(slog.DiscardHandler)),
		pubsub.WithRPCLogger(slog.New(slog.DiscardHandler)),
	)
	if err != nil {
		return nil, fmt.Errorf("start gossipsub: %w", err)
	}
	name := "orpheus/" + n.mesh.keys.MeshID
	s := &spread{link: n, queue: make(chan []byte, publishQueue)}
	if err := ps.RegisterTopicValidator(name, s.judge, pubsub.WithValidatorTimeout(relayTimeout)); err != nil {
		return nil, fmt.Errorf("start gossipsub: %w", err)
	}
	if s.topic, err = ps.Join(name); err != nil {
		return nil, fmt.Errorf("start gossipsub: %w", err)
	}
	if s.sub, err = s.topic.Subscribe(pubsub.WithBufferSize(heardQueue)); err != nil {
		return nil, fmt.Errorf("start gossipsub: %w", err)
	}
	return s, nil
}

func messageID(m *pb.Message) string {
	sum := sha256.Sum256(m.GetData())
	return string(sum[:20])
}

// judge merges a message before it is relayed: what the store calls poison goes no further.
func (s *spread) judge(_ context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
	if from == s.link.host.ID() {
		return pubsub.ValidationAccept
	}
	err := s.link.mesh.store.Receive(from.String(), m.GetData())
	if errors.Is(err, store.ErrFlood) {
		s.link.mesh.log.Debug("left a gossip message to reconciliation", "peer", from, "error", err)
		s.link.mesh.catchUp(ID(from.String()))
		return pubsub.ValidationIgnore
	}
	if err != nil {
		total := s.link.rejected.Add(1)
		s.link.mesh.log.Warn("refused a gossip message", "peer", from, "error", err, "refused_so_far", total)
		return pubsub.ValidationReject
	}
	return pubsub.ValidationAccept
}

// publish queues a frame; a full queue loses it, and reconciliation repairs that.
func (s *spread) publish(frame []byte) {
	select {
	case s.queue <- frame:
	default:
		s.link.mesh.log.Debug("gossip queue is full: a frame was left to reconciliation")
	}
}

// run publishes what was queued and takes the messages off the subscription; they were merged by judge. It keeps the peers in earshot.
func (s *spread) run(ctx context.Context) error {
	s.link.do(func() { s.keepInEarshot(ctx) })
	s.link.do(func() {
		for {
			if _, err := s.sub.Next(ctx); err != nil {
				return
			}
		}
	})
	for {
		select {
		case <-ctx.Done():
			return nil
		case frame := <-s.queue:
			if err := s.topic.Publish(ctx, frame); err != nil && ctx.Err() == nil {
				s.link.mesh.log.Debug("could not gossip a frame", "error", err)
			}
		}
	}
}
