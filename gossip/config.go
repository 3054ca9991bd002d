package gossip

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// DefaultPort serves QUIC and serf on UDP, and TCP where UDP is blocked.
const DefaultPort = 7946

// Config says who this server is and where it listens. Dir and Name are required.
type Config struct {
	Dir  string // holds identity, keys, certificate, known peers and the store; mode 0700
	Name string // host name; the node name that kubectl shows; a DNS label or name of at most 253 bytes

	Listen    netip.AddrPort // UDP and TCP; the zero value is 0.0.0.0:7946; port 0 is refused
	Advertise netip.Addr     // where others reach us; the zero value: the listen address, else that of the default route
	Region    string         // at most 63 bytes each
	Zone      string
	MDNS      bool // look for peers on the local link when their known addresses do not answer

	Store store.Config // what the mesh does not fill itself: Class, TombstoneTTL, EphemeralTTL, EphemeralMax
	Log   *slog.Logger // nil: discarded

	wire *wire         // tests cut and lose packets here; nil: plain sockets
	keep time.Duration // how long serf remembers the failed, for tests; 0: keepFailed
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Dir == "":
		return c, errors.New("gossip: Config.Dir is empty: name the data directory")
	case c.Name == "" || len(c.Name) > maxName:
		return c, fmt.Errorf("gossip: Config.Name %q must have 1 to %d bytes", c.Name, maxName)
	case len(c.Region) > maxPlace || len(c.Zone) > maxPlace:
		return c, fmt.Errorf("gossip: Config.Region and Config.Zone hold at most %d bytes each", maxPlace)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if !c.Listen.IsValid() {
		c.Listen = netip.AddrPortFrom(netip.IPv4Unspecified(), DefaultPort)
	}
	if c.Listen.Port() == 0 {
		return c, fmt.Errorf("gossip: Config.Listen %s needs a fixed port: peers remember it", c.Listen)
	}
	return c, nil
}

// storeDir is where the replica lives.
func (c Config) storeDir() string {
	if c.Store.Dir != "" {
		return c.Store.Dir
	}
	return c.path("store")
}

func (c Config) storeFile() string { return filepath.Join(c.storeDir(), "store.db") }

func (c Config) path(name string) string { return filepath.Join(c.Dir, name) }

// advertised is the address and port that peers dial.
func (c Config) advertised() (netip.AddrPort, error) {
	addr := c.Advertise
	if !addr.IsValid() && !c.Listen.Addr().IsUnspecified() {
		addr = c.Listen.Addr()
	}
	if !addr.IsValid() {
		found, err := routeAddr(c.Listen.Addr().Is4())
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("find an address to advertise: %w; give one with --advertise", err)
		}
		addr = found
	}
	return netip.AddrPortFrom(addr.Unmap(), c.Listen.Port()), nil
}
