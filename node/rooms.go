package node

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/netmesh"
	"github.com/orpheus-mesh/orpheus/node/agent"
	"github.com/orpheus-mesh/orpheus/node/agent/streaming"
	"github.com/orpheus-mesh/orpheus/node/binder"
	"github.com/orpheus-mesh/orpheus/node/control"
	"github.com/orpheus-mesh/orpheus/node/controllers"
	"github.com/orpheus-mesh/orpheus/node/images"
)

// rooms starts what needs the API.
func (s *server) rooms(ctx context.Context, h *house) error {
	if err := s.startNetwork(h); err != nil {
		return err
	}
	if err := s.startAgent(h); err != nil {
		return err
	}
	if err := awaitRoles(ctx, s.admin); err != nil {
		return err
	}
	if err := s.startControllers(h); err != nil {
		return err
	}
	if err := s.startBinder(h); err != nil {
		return err
	}
	h.rooms.open("absence", s.remember)
	s.ready.Store(true)
	s.log.Info("this node is ready", "api", s.apiURL())
	s.next.ready()
	h.rooms.open("memory", giveBack)
	return nil
}

// startAgent runs the pods of this host and the door to their logs and processes.
func (s *server) startAgent(h *house) error {
	reserved, err := resources(s.cfg.Reserved)
	if err != nil {
		return err
	}
	labels, err := pairs(s.cfg.Labels)
	if err != nil {
		return err
	}
	s.agent, err = agent.New(agent.Config{
		Client: s.api.Loopback(), Docker: s.engine, Net: s.pods, Images: depot{s.depot}, NodeName: s.cfg.Name, Addr: s.addr,
		Region: s.cfg.Region, Zone: s.cfg.Zone, Labels: labels, Dir: filepath.Join(s.cfg.DataDir, "agent"), ClusterDomain: s.cfg.Domain,
		StreamPort: int32(netip.MustParseAddrPort(s.cfg.Streaming).Port()), Reserved: reserved, Version: Version(),
		MayForget: s.mesh.Settled, Rebuilt: func() bool { return s.mesh.Store().Quarantined() != "" },
		Dead: func(uid types.UID) bool { return s.mesh.Store().Tombstoned(string(uid)) },
		Log:  s.log.With("room", "agent"),
	})
	if err != nil {
		return err
	}
	s.serveAdmission()
	door := streaming.New(streaming.Config{Listen: s.cfg.Streaming, TLS: s.api.StreamingTLS(), Engine: s.engine, Pods: s.agent,
		Lasting: &s.lasting, Spare: s.spares, Log: s.log.With("room", "streaming")})
	h.rooms.open("agent", s.agent.Run)
	h.rooms.open("streaming", door.Run)
	return nil
}

// depot is the image room in the agent's words.
type depot struct{ *images.Depot }

func (d depot) Ensure(ctx context.Context, ref string, policy corev1.PullPolicy, auth string) (string, error) {
	return d.Depot.Ensure(ctx, ref, images.Policy(policy), auth)
}

func (s *server) startControllers(h *house) error {
	c, err := controllers.New(controllers.Config{
		Client: s.api.Loopback(), Mine: s.sight.mine, Changed: s.absence.Watch(), Settled: s.mesh.Settled, Hold: s.mesh.Hold, Slow: s.mesh.Slow,
		HostState: s.controllersState, Member: s.sight.member, RootCA: s.mesh.Keys().CACert, Log: s.log.With("room", "controllers"),
	})
	if err != nil {
		return err
	}
	h.rooms.open("controllers", c.Run)
	return nil
}

// startBinder gives the pods that this server is home of their hosts.
func (s *server) startBinder(h *house) error {
	client, err := kubernetes.NewForConfig(s.api.Loopback())
	if err != nil {
		return err
	}
	volumes := newClaims(client)
	s.claims = volumes
	s.binder, err = binder.New(binder.Config{Client: s.api.Loopback(), Mine: s.sight.mine, Changed: s.absence.Watch(), Admit: s.admit, Flapping: s.absence.Flapping,
		Volumes: volumes.hosts, Lacks: volumes.lacks, VolumesChanged: volumes.changed, Preempt: s.sure,
		Rebalance: eagerness[s.cfg.Rebalance], Steady: s.steady, Log: s.log.With("room", "binder")})
	if err != nil {
		return err
	}
	h.rooms.open("binder", func(ctx context.Context) error {
		if err := volumes.start(ctx); err != nil {
			return err
		}
		return s.binder.Run(ctx)
	})
	return nil
}

// sure tells whether this server may do to others' pods what can't be undone: it has reconciled with all that it sees, misses
// few, and is not late itself.
func (s *server) sure() bool {
	hold, _ := s.mesh.Hold()
	return s.mesh.Settled() && !hold && !s.mesh.Slow()
}

// steady tells whether pods may move for balance's sake: this server is sure, and misses nobody. Whoever will not come back has
// to be evicted first, for it may as well be on the other side of a split.
func (s *server) steady() bool {
	missed := func(m gossip.Member) bool {
		card, known := s.roster.ByName(m.Name)
		formerLife := known && card.ID != m.ID
		return (m.State == gossip.Suspect || m.State == gossip.Failed) && !formerLife
	}
	return s.sure() && !slices.ContainsFunc(s.mesh.Members(), missed)
}

// controllersState is Host in the controllers' words. One whose turn to be given up has not come is only suspected.
func (s *server) controllersState(node string) controllers.HostState {
	switch state, _ := s.sight.Host(node); state {
	case gossip.Suspect:
		return controllers.Suspect
	case gossip.Failed:
		if s.absence.Held(node) {
			return controllers.Suspect
		}
		return controllers.Failed
	case gossip.Left:
		return controllers.Failed
	}
	return controllers.Alive
}

// roomProblems are those of the data plane and the front doors.
func (s *server) roomProblems() (out []control.Problem) {
	if err := s.net.plane.Status(); err != nil {
		out = append(out, control.Problem{What: "data plane", Why: err.Error(), Mend: "it is tried again all the time; what is named there stands in the way"})
	}
	if err := s.net.names.Status(); err != nil {
		out = append(out, control.Problem{What: "names", Why: err.Error(), Mend: "free that address: pods of this host find no service by its name until then; it is tried again all the time"})
	}
	if err := s.net.proxy.Status(); err != nil {
		out = append(out, control.Problem{What: "ingress", Why: err.Error(), Mend: "free the address or set another; it is tried again all the time"})
	}
	return out
}

// addressLabel is on every sandbox; see the agent's labels.
const addressLabel = "orpheus.dev/pod-address"

// renumber gives the pods here new addresses, because this server's slot belongs to another now: their sandboxes are
// removed, and the agent makes them anew. It happens when two servers that could not see one another chose the same slot.
func (s *server) renumber(ctx context.Context) error {
	slot := netmesh.CIDR(netip.MustParsePrefix(s.cfg.PodCIDR), slotBits, s.slots.card.Slot)
	if err := s.pods.move(slot); err != nil {
		return err
	}
	sandboxes, err := s.engine.List(ctx, nil, addressLabel)
	if err != nil {
		return fmt.Errorf("renumber pods: %w", err)
	}
	for _, c := range sandboxes {
		if addr, err := netip.ParseAddr(c.Labels[addressLabel]); err != nil || slot.Contains(addr) {
			continue
		}
		s.log.Warn("a pod gets a new address because another server holds this one's slot", "address", c.Labels[addressLabel])
		if err := s.engine.Remove(ctx, c.ID); err != nil {
			return fmt.Errorf("renumber pods: %w", err)
		}
	}
	return nil
}
