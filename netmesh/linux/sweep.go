package linux

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Sweep removes everything of ours from a host's network namespace ("": the process's own): table, routes, devices, the veths of pods. It is
// for uninstalling; pods that still run lose their network.
func Sweep(netNS string) error {
	p, err := New(Config{NetNS: netNS})
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	defer p.Close()
	if err := errors.Join(p.sweepTable(), p.sweepRoutes(), p.sweepLinks()); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return nil
}

func (p *Plane) sweepTable() error {
	c, err := p.table.dial()
	if err != nil {
		return err
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	for _, t := range tables {
		if t.Name == tableName {
			c.DelTable(p.table.kernel)
		}
	}
	return c.Flush()
}

func (p *Plane) sweepRoutes() error {
	have, err := p.ourRoutes()
	for _, r := range have {
		if e := p.route.RouteDel(&r); e != nil && !errors.Is(e, unix.ESRCH) {
			err = errors.Join(err, fmt.Errorf("remove route %s: %w", r.Dst, e))
		}
	}
	return err
}

func (p *Plane) sweepLinks() error {
	links, err := p.route.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		name := l.Attrs().Name
		if !strings.HasPrefix(l.Attrs().Alias, aliasMark) && name != hostLink && name != vxlanLink {
			continue
		}
		if e := p.route.LinkDel(l); e != nil && !missing(e) {
			err = errors.Join(err, fmt.Errorf("remove device %s: %w", name, e))
		}
	}
	return err
}
