package bed

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// Traffic is what a host's link carried since the host was booted, as its kernel counts it: whole Ethernet frames, also those of
// ARP and mDNS.
type Traffic struct {
	Sent, Received uint64 // bytes
}

// Traffic reads the counters of every host's link, by host.
func (b *Bed) Traffic() (map[string]Traffic, error) {
	hosts, err := b.hosts()
	if err != nil {
		return nil, err
	}
	all := map[string]Traffic{}
	for _, h := range hosts {
		c := b.cableOf(h)
		err := inside(c.place, func(nl *netlink.Handle) error {
			l, err := nl.LinkByName(c.dev)
			if err != nil {
				return fmt.Errorf("find %s: %w", c.dev, err)
			}
			s := l.Attrs().Statistics
			if s == nil {
				return fmt.Errorf("%s has no counters", c.dev)
			}
			all[h.Name] = Traffic{Sent: s.TxBytes, Received: s.RxBytes}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
