package bed

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"golang.org/x/sys/unix"
)

// A host's states, and what leads from one to the next:
//
//	 off ──Boot──► on ──Pause──► frozen        frozen also answers nothing, but holds its memory
//	  ▲            │ ▲             │
//	  └─Poweroff───┘ └───Resume────┘           Poweroff works on a frozen host too
//	                 └─ KillEngine, Boot       only the engine; containers live

// Boot makes a host that is off run again: network, name, cgroups and the engine, which restarts what its restart
// policies say. Other daemons are the caller's to start. A host that is on is left alone, but for an engine that died.
func (b *Bed) Boot(ctx context.Context, host string) error {
	h, err := b.find(host)
	if err != nil {
		return err
	}
	return b.boot(ctx, h)
}

func (b *Bed) boot(ctx context.Context, h Host) error {
	if err := b.ensurePlace(h.Name); err != nil {
		return fmt.Errorf("boot %s: %w", h.Name, err)
	}
	frozen, err := b.groups.frozen(b.group(h.Name))
	if err == nil && frozen {
		err = errors.New("it is frozen, resume it first")
	}
	if err != nil {
		return fmt.Errorf("boot %s: %w", h.Name, err)
	}
	if err := ensureHostname(b.path(h.Name, "uts"), h.Name); err != nil {
		return fmt.Errorf("boot %s: name it: %w", h.Name, err)
	}
	if err := b.cableOf(h).plug(); err != nil {
		return fmt.Errorf("boot %s: %w", h.Name, err)
	}
	if err := sysctl(h.Name, map[string]string{"ipv4/ip_forward": "1"}); err != nil {
		return fmt.Errorf("boot %s: %w", h.Name, err)
	}
	if err := b.startEngine(ctx, h); err != nil {
		return fmt.Errorf("boot %s: %w", h.Name, err)
	}
	b.log.Info("host is up", "host", h.Name, "addr", h.Addr, "region", h.Region)
	return nil
}

// Poweroff is a power cut: the link goes dark, then every process of the host dies in one moment, none sees another die. The network
// namespace goes with all that was configured in it; the disk stays. While the host is off nothing answers for its
// address, not even with a refusal. A host that is off is fine.
//
// Two things differ from a real power cut. Writes that were never fsynced survive, because the page cache is the
// machine's. And /proc/sys/kernel/random/boot_id stays what it was.
func (b *Bed) Poweroff(ctx context.Context, host string) error {
	h, err := b.find(host)
	if err != nil {
		return err
	}
	if err := b.cableOf(h).unplug(); err != nil {
		return fmt.Errorf("power off %s: unplug: %w", h.Name, err)
	}
	if err := b.groups.kill(ctx, b.group(h.Name)); err != nil {
		return fmt.Errorf("power off %s: %w", h.Name, err)
	}
	if err := errors.Join(b.wipe(h), removeNamespace(h.Name)); err != nil {
		return fmt.Errorf("power off %s: %w", h.Name, err)
	}
	b.log.Info("host lost power", "host", h.Name)
	return nil
}

// Pause freezes a host: engine, containers and daemons stand still in mid-step, the kernel still answers for it (ping, and
// connections that nobody accepts).
func (b *Bed) Pause(ctx context.Context, host string) error { return b.freeze(ctx, host, true) }

// Resume lets a frozen host go on.
func (b *Bed) Resume(ctx context.Context, host string) error { return b.freeze(ctx, host, false) }

func (b *Bed) freeze(ctx context.Context, host string, frozen bool) error {
	h, err := b.find(host)
	if err != nil {
		return err
	}
	return b.groups.freeze(ctx, b.group(h.Name), frozen)
}

// KillEngine kills dockerd alone; containerd and the containers live. Boot starts it again.
func (b *Bed) KillEngine(ctx context.Context, host string) error {
	h, err := b.find(host)
	if err != nil {
		return err
	}
	return b.Kill(h.Name, engineName, unix.SIGKILL)
}

func installed(tool string) bool {
	_, err := exec.LookPath(tool)
	return err == nil
}
