package gossip

import (
	"bytes"
	"cmp"
	"fmt"
	"log"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"
)

// Timing of serf for small meshes. A crash is suspected within a probe interval or two and called dead after
// suspicionMult × probeInterval × max(1, log10 N) = 2 s more; the probes of all members together find it, so that the first
// part does not grow with N and the second grows with its logarithm.
const (
	probeInterval  = 400 * time.Millisecond
	probeTimeout   = 150 * time.Millisecond
	suspicionMult  = 5
	gossipInterval = 100 * time.Millisecond
	pushPull       = 30 * time.Second
	streamTimeout  = 3 * time.Second
	keepFailed     = 720 * time.Hour // serf's reaper forgets a failed member only after this
)

const (
	tagName   = "n"
	tagRegion = "r"
	tagZone   = "z"
)

func newSerf(cfg Config, ring *memberlist.Keyring, self ID, transport *packets, events chan<- serf.Event) (*serf.Serf, error) {
	quiet := log.New(&serfLog{log: cfg.Log}, "", 0)
	c := serf.DefaultConfig()
	c.NodeName = string(self)
	c.Tags = map[string]string{tagName: cfg.Name, tagRegion: cfg.Region, tagZone: cfg.Zone}
	c.EventCh = events
	c.Logger = quiet
	c.EnableNameConflictResolution = false
	c.ReconnectTimeout = cmp.Or(cfg.keep, keepFailed)
	c.TombstoneTimeout = c.ReconnectTimeout
	c.LeavePropagateDelay = 500 * time.Millisecond
	c.BroadcastTimeout = 2 * time.Second
	c.DisableCoordinates = true // nobody asks for them, and they would triple the size of an ack

	m := memberlist.DefaultLANConfig()
	m.Name = c.NodeName
	m.Transport = transport
	m.Logger = quiet
	m.Keyring = ring
	m.BindAddr = cfg.Listen.Addr().String()
	m.BindPort = int(cfg.Listen.Port())
	m.AdvertiseAddr = transport.advertise.Addr().String()
	m.AdvertisePort = int(transport.advertise.Port())
	m.ProbeInterval = probeInterval
	m.ProbeTimeout = probeTimeout
	m.SuspicionMult = suspicionMult
	m.AwarenessMaxMultiplier = 5 // a node that finds itself slow probes at most that many times slower
	m.SuspicionMaxTimeoutMult = 1
	m.GossipInterval = gossipInterval
	m.PushPullInterval = pushPull
	m.TCPTimeout = streamTimeout
	m.UDPBufferSize = 1200              // fits the smallest path that QUIC accepts
	m.DeadNodeReclaimTime = time.Second // a host may come back under another address
	m.RequireNodeNames = true
	m.EnableCompression = false // packets are small and encrypted; compressing them only costs CPU
	c.MemberlistConfig = m

	s, err := serf.Create(c)
	if err != nil {
		return nil, fmt.Errorf("start serf: %w", err)
	}
	return s, nil
}

// memberOf reads what serf knows of a member.
func memberOf(m serf.Member) (known, bool) {
	addr, ok := netip.AddrFromSlice(m.Addr)
	return known{
		ID: ID(m.Name), Name: m.Tags[tagName], Region: m.Tags[tagRegion], Zone: m.Tags[tagZone],
		Addr: netip.AddrPortFrom(addr.Unmap(), m.Port),
	}, ok
}

// serfLog turns serf's lines ("[WARN] serf: …") into debug records: what a person should read is said by the mesh itself.
type serfLog struct{ log *slog.Logger }

func (w *serfLog) Write(line []byte) (int, error) {
	w.log.Debug("serf", "line", string(bytes.TrimSpace(line)))
	return len(line), nil
}

// guardKeys undoes what serf's own key queries did to the ring: whoever holds one key could install another and remove ours.
// The keys of a mesh are those in its file.
func (n *link) guardKeys() {
	ours := n.mesh.keys.Gossip
	for _, k := range ours {
		_ = n.ring.AddKey(k) // of 32 bytes, as was checked
	}
	_ = n.ring.UseKey(ours[0])
	for _, k := range n.ring.GetKeys() {
		if !slices.ContainsFunc(ours, func(o []byte) bool { return bytes.Equal(o, k) }) {
			_ = n.ring.RemoveKey(k)
			n.mesh.log.Warn("somebody who holds the gossip key installed another; it was removed")
		}
	}
}
