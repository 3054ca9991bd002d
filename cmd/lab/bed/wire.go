package bed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// raiseNetwork builds switches, router and client; what is already there stays as it is.
func (b *Bed) raiseNetwork() error {
	for _, name := range []string{b.router(), b.client()} {
		if err := b.ensurePlace(name); err != nil {
			return err
		}
	}
	if err := sysctl(b.router(), map[string]string{"ipv4/ip_forward": "1"}); err != nil {
		return err
	}
	for r := 1; r <= b.regions; r++ {
		if err := b.ensureSwitch(r); err != nil {
			return fmt.Errorf("switch of region %d: %w", r, err)
		}
	}
	return nil
}

// ensurePlace gives a place its directory, its cgroups and its namespace.
func (b *Bed) ensurePlace(name string) error {
	if err := makeDirs(b.path(name, "run"), b.path(name, "log")); err != nil {
		return err
	}
	if err := b.groups.create(b.group(name)); err != nil {
		return err
	}
	return ensureNamespace(name)
}

func (b *Bed) ensureSwitch(region int) error {
	sw := b.switchOf(region)
	if err := ensureNamespace(sw); err != nil {
		return err
	}
	if err := inside(sw, func(h *netlink.Handle) error { return ensureBridge(h) }); err != nil {
		return err
	}
	router := cable{sw: sw, port: "up0", place: b.router(), dev: fmt.Sprintf("r%d", region), addr: b.gateway(region)}
	client := cable{sw: sw, port: "out0", place: b.client(), dev: fmt.Sprintf("eth%d", region), addr: b.outside(region)}
	return errors.Join(router.plug(), client.plug())
}

// ensureBridge makes the switch. Snooping is off because nobody queries here: multicast floods, as on a plain switch.
func ensureBridge(h *netlink.Handle) error {
	if _, err := h.LinkByName("br0"); err == nil {
		return up(h, "br0")
	}
	la := netlink.NewLinkAttrs()
	la.Name = "br0"
	off := false
	if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: la, MulticastSnooping: &off}); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add bridge: %w", err)
	}
	return up(h, "br0")
}

// cable is a link from a switch port to a device in a place.
type cable struct {
	sw, port   string
	place, dev string
	mac        net.HardwareAddr // of the device; nil: any
	addr       netip.Addr       // in its /24
	via        netip.Addr       // default route; zero: none
}

// plug connects both ends and leaves a link that is there alone, also one whose port is switched off.
func (c cable) plug() error {
	fresh := false
	err := inside(c.sw, func(h *netlink.Handle) error {
		if _, err := h.LinkByName(c.port); err == nil {
			return nil
		}
		fresh = true
		return c.add(h)
	})
	if err != nil {
		return fmt.Errorf("plug %s into %s: %w", c.dev, c.sw, err)
	}
	if err := inside(c.place, c.configure); err != nil || !fresh {
		return err
	}
	return inside(c.sw, func(h *netlink.Handle) error {
		if err := up(h, c.port); err != nil {
			return err
		}
		return settle(h, c.port)
	})
}

// settle waits until the switch forwards for a port (at most 5 s). The kernel looks after new carriers once a second; until then a frame that
// comes to the port is lost without a word.
func settle(h *netlink.Handle, port string) error {
	return poll(context.Background(), 5*time.Second, "carrier of port "+port, func() (bool, error) {
		l, err := h.LinkByName(port)
		if err != nil {
			return false, err
		}
		return l.Attrs().OperState == netlink.OperUp, nil
	})
}

// add creates the pair with each end in its namespace from the start: a crash leaves nothing in the machine's own.
func (c cable) add(h *netlink.Handle) error {
	place, err := netns.GetFromPath(netnsPath(c.place))
	if err != nil {
		return err
	}
	defer place.Close()
	br, err := h.LinkByName("br0")
	if err != nil {
		return fmt.Errorf("find bridge: %w", err)
	}
	la := netlink.NewLinkAttrs()
	la.Name, la.MasterIndex = c.port, br.Attrs().Index
	return h.LinkAdd(&netlink.Veth{LinkAttrs: la, PeerName: c.dev, PeerHardwareAddr: c.mac, PeerNamespace: netlink.NsFd(place)})
}

func (c cable) configure(h *netlink.Handle) error {
	l, err := h.LinkByName(c.dev)
	if err != nil {
		return fmt.Errorf("find %s: %w", c.dev, err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: c.addr.AsSlice(), Mask: net.CIDRMask(24, 32)}}
	if err := h.AddrReplace(l, addr); err != nil {
		return fmt.Errorf("address %s of %s: %w", c.addr, c.dev, err)
	}
	if err := h.LinkSetUp(l); err != nil {
		return fmt.Errorf("raise %s: %w", c.dev, err)
	}
	if !c.via.IsValid() {
		return nil
	}
	return h.RouteReplace(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: c.via.AsSlice()})
}

// unplug removes the link; absent is fine.
func (c cable) unplug() error {
	if !isNamespace(netnsPath(c.sw)) {
		return nil
	}
	return inside(c.sw, func(h *netlink.Handle) error {
		l, err := h.LinkByName(c.port)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return nil
		}
		if err != nil {
			return err
		}
		return h.LinkDel(l)
	})
}

func (b *Bed) cableOf(h Host) cable {
	return cable{sw: b.switchOf(h.Region), port: b.port(h), place: h.Name, dev: "eth0", mac: b.mac(h), addr: h.Addr, via: b.gateway(h.Region)}
}

func up(h *netlink.Handle, dev string) error {
	l, err := h.LinkByName(dev)
	if err != nil {
		return fmt.Errorf("find %s: %w", dev, err)
	}
	return h.LinkSetUp(l)
}
