package bed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// Faults are nftables rules on the switches (family bridge: they see every frame between ports, ARP and pods' own
// addresses included) and on the router. A rule carries in its comment what it is, so that it can be found and
// taken back: the ruleset in the kernel is the only list of faults.
const faultTable = `table %[1]s fault {
	chain forward { type filter hook forward priority 0; policy accept; }
}
`

// Cut stops all traffic between two hosts, both ways, without a sign to either.
func (b *Bed) Cut(a, c string) error { return errors.Join(b.Cut1(a, c), b.Cut1(c, a)) }

// Cut1 stops what from sends to to; the other way still works.
func (b *Bed) Cut1(from, to string) error {
	f, t, err := b.pair(from, to)
	if err != nil {
		return err
	}
	// On the same switch the sender is known by its port, so that its pods' traffic is cut too. From another region
	// everything comes through the router; there the host's own address is what can be seen.
	match := "iifname " + strconv.Quote(b.port(f))
	if f.Region != t.Region {
		match = "ether type ip ip saddr " + f.Addr.String()
	}
	return b.fault(b.switchOf(t.Region), "bridge", cutName(f, t), fmt.Sprintf("%s oifname %q drop", match, b.port(t)))
}

// Heal takes back what Cut and Cut1 did between two hosts, both ways.
func (b *Bed) Heal(a, c string) error {
	f, t, err := b.pair(a, c)
	if err != nil {
		return err
	}
	return errors.Join(
		b.mend(b.switchOf(t.Region), "bridge", cutName(f, t)),
		b.mend(b.switchOf(f.Region), "bridge", cutName(t, f)),
	)
}

func cutName(f, t Host) string { return "cut " + f.Name + " " + t.Name }

func (b *Bed) pair(x, y string) (f, t Host, err error) {
	f, err = b.find(x)
	if err != nil {
		return f, t, err
	}
	t, err = b.find(y)
	if err == nil && f == t {
		err = fmt.Errorf("a fault between %s and itself makes no sense", f.Name)
	}
	return f, t, err
}

// Isolate switches a host's port off, Join on again.
func (b *Bed) Isolate(host string) error { return b.setPort(host, false) }

// Join undoes Isolate.
func (b *Bed) Join(host string) error { return b.setPort(host, true) }

func (b *Bed) setPort(host string, on bool) error {
	h, err := b.find(host)
	if err != nil {
		return err
	}
	return inside(b.switchOf(h.Region), func(nl *netlink.Handle) error {
		l, err := nl.LinkByName(b.port(h))
		if err != nil {
			return fmt.Errorf("port of %s (is it powered off?): %w", h.Name, err)
		}
		if !on {
			return nl.LinkSetDown(l)
		}
		if err := nl.LinkSetUp(l); err != nil {
			return err
		}
		return settle(nl, b.port(h))
	})
}

// Split cuts the given regions off from all others, in silence. Without a region it cuts every region from every other.
func (b *Bed) Split(regions ...int) error {
	if len(regions) == 0 {
		for r := 1; r <= b.regions; r++ {
			regions = append(regions, r)
		}
	}
	for _, r := range regions {
		if r < 1 || r > b.regions {
			return fmt.Errorf("split: region %d, the lab has 1 to %d", r, b.regions)
		}
	}
	for _, r := range regions {
		for _, dir := range []string{"iifname", "oifname"} {
			if err := b.fault(b.router(), "inet", fmt.Sprintf("split %d %s", r, dir), fmt.Sprintf("%s \"r%d\" drop", dir, r)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Merge undoes every Split.
func (b *Bed) Merge() error {
	for r := 1; r <= b.regions; r++ {
		for _, dir := range []string{"iifname", "oifname"} {
			if err := b.mend(b.router(), "inet", fmt.Sprintf("split %d %s", r, dir)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Loss drops that percentage of all frames to the host and, apart from that, of all frames from it; 0 ends it.
func (b *Bed) Loss(host string, percent float64) error {
	h, err := b.find(host)
	if err != nil {
		return err
	}
	if !(percent >= 0 && percent <= 100) {
		return fmt.Errorf("loss: %v percent, want 0 to 100", percent)
	}
	sw := b.switchOf(h.Region)
	for _, dir := range []string{"iifname", "oifname"} {
		name := fmt.Sprintf("loss %s %s", h.Name, dir)
		if err := b.mend(sw, "bridge", name); err != nil {
			return err
		}
		if percent == 0 {
			continue
		}
		rule := fmt.Sprintf("%s %q numgen random mod 100000 < %d drop", dir, b.port(h), int(percent*1000))
		if err := b.fault(sw, "bridge", name, rule); err != nil {
			return err
		}
	}
	return nil
}

// fault adds a rule under a name, once.
func (b *Bed) fault(namespace, family, name, rule string) error {
	found, err := listFaults(namespace)
	if err != nil || slices.ContainsFunc(found, func(f fault) bool { return f.Comment == name }) {
		return err
	}
	script := fmt.Sprintf(faultTable+"add rule %[1]s fault forward %[2]s comment %[3]q\n", family, rule, name)
	if _, err := nft(namespace, script, "-f", "-"); err != nil {
		return fmt.Errorf("fault %q in %s: %w", name, namespace, err)
	}
	return nil
}

// mend removes every rule of that name; none is fine.
func (b *Bed) mend(namespace, family, name string) error {
	found, err := listFaults(namespace)
	if err != nil {
		return err
	}
	for _, f := range found {
		if f.Comment != name {
			continue
		}
		if _, err := nft(namespace, "", "delete", "rule", family, "fault", "forward", "handle", strconv.Itoa(f.Handle)); err != nil {
			return fmt.Errorf("mend %q in %s: %w", name, namespace, err)
		}
	}
	return nil
}

type fault struct {
	Handle  int    `json:"handle"`
	Comment string `json:"comment"`
}

func listFaults(namespace string) ([]fault, error) {
	out, err := nft(namespace, "", "-j", "list", "ruleset")
	if err != nil {
		return nil, fmt.Errorf("list faults in %s: %w", namespace, err)
	}
	var list struct {
		Nftables []struct {
			Rule *fault `json:"rule"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, fmt.Errorf("list faults in %s: %w", namespace, err)
	}
	var found []fault
	for _, entry := range list.Nftables {
		if entry.Rule != nil && entry.Rule.Comment != "" {
			found = append(found, *entry.Rule)
		}
	}
	return found, nil
}

// Faults names every fault that is in force, in the words of the commands that made it.
func (b *Bed) Faults() ([]string, error) {
	var names []string
	namespaces := []string{b.router()}
	for r := 1; r <= b.regions; r++ {
		namespaces = append(namespaces, b.switchOf(r))
	}
	for _, ns := range namespaces {
		if !isNamespace(netnsPath(ns)) {
			continue
		}
		found, err := listFaults(ns)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			name := strings.TrimSuffix(strings.TrimSuffix(f.Comment, " iifname"), " oifname")
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if args, ok := b.relaying(); ok {
		names = append(names, args)
	}
	return names, nil
}

func nft(namespace, script string, args ...string) ([]byte, error) {
	cmd := exec.Command("nsenter", append([]string{"--net=" + netnsPath(namespace), "--", "nft"}, args...)...)
	cmd.Stdin = bytes.NewBufferString(script)
	out, err := cmd.Output()
	return out, withStderr(err)
}
