package node

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/api"
	"github.com/orpheus-mesh/orpheus/node/control"
	"github.com/orpheus-mesh/orpheus/node/tenure"
)

var _ control.Daemon = (*server)(nil)

// FenceAnnotation on a Node says that a person declared what runs there lost.
const FenceAnnotation = "orpheus.dev/fenced"

// Status gathers what every room has to say of itself.
func (s *server) Status(ctx context.Context) control.Status {
	self := s.mesh.Self()
	root, records := s.mesh.Store().Root()
	st := control.Status{
		Name: self.Name, ID: string(self.ID), Version: Version(), Address: self.Addr.Addr().String(),
		Since: s.started, Ready: s.ready.Load(), Records: records, Root: hex.EncodeToString(root[:]),
		Conflicts: len(s.mesh.Store().Siblings()), RSS: residentBytes(), Problems: s.problems(ctx),
	}
	for _, m := range s.mesh.Members() {
		if m.State == gossip.Left {
			continue
		}
		st.Members++
		if m.State == gossip.Alive {
			st.Alive++
		}
	}
	return st
}

func residentBytes() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// Members lists the servers as this one sees them.
func (s *server) Members(context.Context) []control.Member {
	var out []control.Member
	for _, m := range s.mesh.Members() {
		out = append(out, s.memberOf(m))
	}
	return out
}

func (s *server) memberOf(m gossip.Member) control.Member {
	out := control.Member{ID: string(m.ID), Name: m.Name, Address: m.Addr.Addr().String(), Region: m.Region,
		Zone: m.Zone, State: m.State.String(), Since: m.Since, Self: m.ID == s.mesh.Self().ID}
	if s.mesh.Evicted(m.ID) {
		out.State = "evicted"
	}
	return out
}

// Conflicts lists the objects with edits that wait for a person's word.
func (s *server) Conflicts(context.Context) []control.Conflict {
	var out []control.Conflict
	for _, o := range s.mesh.Store().Siblings() {
		c := control.Conflict{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name,
			Executing: control.Edit{Author: s.nameOf(o.Author), Body: s.readable(o.Key, o.Bodies[store.Intent])}}
		for _, e := range o.Others {
			c.Others = append(c.Others, control.Edit{Author: s.nameOf(e.Author), Time: time.UnixMilli(e.Time), Delete: e.Delete,
				Body: s.readable(o.Key, e.Body)})
		}
		out = append(out, c)
	}
	for _, d := range s.disputes() {
		out = append(out, control.Conflict{Kind: "core/services", Namespace: d.Loser.Service.Namespace, Name: d.Loser.Service.Name,
			Why: contested(d), Mend: api.Mend(d)})
	}
	return out
}

// disputes lists the addresses and ports that wait for a person, in a stable order.
func (s *server) disputes() []tenure.Dispute {
	all := s.api.Disputes()
	slices.SortFunc(all, func(a, b tenure.Dispute) int {
		return cmp.Or(strings.Compare(a.Loser.Service.String(), b.Loser.Service.String()), strings.Compare(a.Loser.Asset.Value(), b.Loser.Asset.Value()))
	})
	return all
}

func contested(d tenure.Dispute) string {
	return fmt.Sprintf("%s is served for %s alone, which asked for it as well", d.Loser.Asset, d.Holder.Service)
}

func (s *server) nameOf(author string) string {
	if c, ok := s.roster.ByID(gossip.ID(author)); ok {
		return c.Name
	}
	return author
}

// CreateToken makes a single-use join token.
func (s *server) CreateToken(ctx context.Context, ttl time.Duration) (string, error) {
	return s.mesh.CreateToken(ctx, ttl)
}

// Kubeconfig signs a client certificate with the mesh's CA.
func (s *server) Kubeconfig(user string, groups []string, server string) ([]byte, error) {
	if server == "" {
		server = s.apiURL()
	}
	return s.api.Kubeconfig(user, groups, server)
}

// LoadImage feeds an archive to the engine and tells the mesh of the images in it.
func (s *server) LoadImage(ctx context.Context, archive io.Reader) ([]control.Image, error) {
	return s.depot.Load(ctx, archive)
}

// RememberImage tells the mesh of an image that the engine here has.
func (s *server) RememberImage(ctx context.Context, ref string) (control.Image, error) {
	return s.depot.Remember(ctx, ref)
}

// Images lists what the mesh remembers.
func (s *server) Images() ([]control.Image, error) { return s.depot.List() }

// Fence writes the durable fact that what runs on a node is lost, or takes it back.
func (s *server) Fence(ctx context.Context, node string, lift bool) error {
	if _, ok := s.roster.ByName(node); !ok {
		return fmt.Errorf("node %s: no server of the mesh is called so; `orpheus members` lists them", node)
	}
	state, _ := s.sight.Host(node)
	if !lift && state == gossip.Alive {
		return fmt.Errorf("node %s is in sight: drain it (orpheus kubectl drain %s) instead of fencing it", node, node)
	}
	var value any
	if !lift {
		value = time.Now().UTC().Format(time.RFC3339)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{FenceAnnotation: value}}})
	if err != nil {
		return err
	}
	if _, err = s.admin.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil || lift {
		return err
	}
	return s.abandonVolumes(ctx, node)
}

// RotateSecrets makes a new key for Secrets at rest and encrypts all of them anew.
func (s *server) RotateSecrets(ctx context.Context) (int, error) {
	if err := s.keyring.rotate(ctx); err != nil {
		return 0, err
	}
	return s.api.RotateSecrets(ctx)
}
