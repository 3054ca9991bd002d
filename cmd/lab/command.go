package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/orpheus-mesh/orpheus/cmd/lab/bed"
	"github.com/spf13/cobra"
)

// lab is what all commands share: which bed they are about.
type lab struct{ cfg bed.Config }

func newCommand() *cobra.Command {
	l := &lab{cfg: bed.Config{Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}}
	root := &cobra.Command{
		Use:   "lab",
		Short: "Several real hosts on one machine, to be broken on purpose",
		Long: "Hosts are called m1, m2, … (or 1, 2, …). Each is a network namespace with a real Docker Engine in a cgroup of its own.\n" +
			"`exec` also takes `client`, an outsider that reaches every host, and `router`.",
		SilenceUsage: true, SilenceErrors: true,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&l.cfg.Dir, "dir", os.Getenv("LAB_DIR"), "directory of the lab (default /var/lib/orpheus-lab; environment LAB_DIR)")
	flags.StringVar(&l.cfg.Prefix, "prefix", "", "begins the names of all hosts (default m)")
	flags.IntVar(&l.cfg.Net, "net", 0, "region r is the network 10.(net+r).0.0/24 (default 200)")
	root.AddCommand(l.up(), l.down(), l.add(), l.status(), l.mem(), l.exec(), l.docker(), l.start(), l.stop(), l.kill())
	root.AddCommand(l.faults()...)
	root.AddCommand(l.image(), loadCommand(), l.demo(), l.figures())
	return root
}

// with opens the bed for a command.
func (l *lab) with(f func(cmd *cobra.Command, b *bed.Bed, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		b, err := bed.New(l.cfg)
		if err != nil {
			return err
		}
		return f(cmd, b, args)
	}
}

func (l *lab) up() *cobra.Command {
	cmd := &cobra.Command{Use: "up [N]", Short: "Bring up N hosts (default 3); what is up already stays", Args: cobra.MaximumNArgs(1)}
	cmd.Flags().IntVar(&l.cfg.Regions, "regions", 0, "number of regions (default 1); hosts are dealt out by turn")
	open := l.with(func(cmd *cobra.Command, b *bed.Bed, _ []string) error { return b.Up(cmd.Context()) })
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		l.cfg.Hosts = 3
		if len(args) == 1 {
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 1 {
				return fmt.Errorf("number of hosts: %q, want 1 or more", args[0])
			}
			l.cfg.Hosts = n
		}
		return open(cmd, args)
	}
	return cmd
}

func (l *lab) down() *cobra.Command {
	return &cobra.Command{Use: "down", Short: "End everything and leave nothing behind", Args: cobra.NoArgs,
		RunE: l.with(func(cmd *cobra.Command, b *bed.Bed, _ []string) error { return b.Down(cmd.Context()) })}
}

func (l *lab) add() *cobra.Command {
	return &cobra.Command{Use: "add", Short: "Bring up one more host and print its name", Args: cobra.NoArgs,
		RunE: l.with(func(cmd *cobra.Command, b *bed.Bed, _ []string) error {
			h, err := b.AddHost(cmd.Context())
			if err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), h.Name)
			}
			return err
		})}
}

// exec runs in the host's cgroup: what it starts dies with the host.
func (l *lab) exec() *cobra.Command {
	cmd := &cobra.Command{Use: "exec HOST COMMAND…", Short: "Run a command on a host", Args: cobra.MinimumNArgs(2),
		RunE: l.with(func(_ *cobra.Command, b *bed.Bed, args []string) error {
			return attached(b.Command(args[0], args[1:]...))
		})}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func (l *lab) docker() *cobra.Command {
	cmd := &cobra.Command{Use: "docker HOST ARGUMENTS…", Short: "Run the docker command against a host's engine", Args: cobra.MinimumNArgs(2),
		RunE: l.with(func(_ *cobra.Command, b *bed.Bed, args []string) error {
			h, err := b.Host(args[0])
			if err != nil {
				return err
			}
			return attached(exec.Command("docker", append([]string{"-H", "unix://" + b.Socket(h.Name)}, args[1:]...)...))
		})}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// verdict is the exit status of a command that the user named and that said itself what was wrong.
type verdict int

func (v verdict) Error() string { return fmt.Sprintf("exit status %d", int(v)) }

func attached(cmd *exec.Cmd) error {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() > 0 {
		return verdict(exit.ExitCode())
	}
	return err
}

func (l *lab) start() *cobra.Command {
	var log string
	cmd := &cobra.Command{Use: "start HOST NAME COMMAND…", Short: "Run a daemon on a host, detached", Args: cobra.MinimumNArgs(3),
		RunE: l.with(func(_ *cobra.Command, b *bed.Bed, args []string) error {
			return b.Start(args[0], args[1], args[2:], log)
		})}
	cmd.Flags().StringVar(&log, "log", "", "file that gets its output (default log/NAME.log in the host's directory)")
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func (l *lab) stop() *cobra.Command {
	return &cobra.Command{Use: "stop HOST NAME", Short: "End a daemon gracefully", Args: cobra.ExactArgs(2),
		RunE: l.with(func(cmd *cobra.Command, b *bed.Bed, args []string) error {
			return b.Stop(cmd.Context(), args[0], args[1])
		})}
}

func (l *lab) kill() *cobra.Command {
	var name string
	cmd := &cobra.Command{Use: "kill HOST NAME", Short: "Send a signal to a daemon", Args: cobra.ExactArgs(2),
		RunE: l.with(func(_ *cobra.Command, b *bed.Bed, args []string) error {
			signal, err := signalOf(name)
			if err != nil {
				return err
			}
			return b.Kill(args[0], args[1], signal)
		})}
	cmd.Flags().StringVarP(&name, "signal", "s", "KILL", "which")
	return cmd
}

func (l *lab) status() *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Show hosts and faults", Args: cobra.NoArgs,
		RunE: l.with(func(cmd *cobra.Command, b *bed.Bed, _ []string) error {
			s, err := b.Status(cmd.Context())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if len(s.Hosts) == 0 {
				_, err := fmt.Fprintf(out, "no lab stands in %s\n", s.Dir)
				return err
			}
			fmt.Fprintf(out, "%-6s %-7s %-15s %-12s %-28s %-11s %s\n", "HOST", "REGION", "ADDRESS", "STATE", "ENGINE", "CONTAINERS", "DAEMONS")
			for _, h := range s.Hosts {
				state := string(h.State)
				if h.Isolated {
					state += ", isolated"
				}
				fmt.Fprintf(out, "%-6s %-7d %-15s %-12s %-28s %-11d %s\n", h.Name, h.Region, h.Addr, state, h.Engine, h.Containers, strings.Join(h.Daemons, " "))
			}
			for _, f := range s.Faults {
				fmt.Fprintln(out, "fault:", f)
			}
			return nil
		})}
}

func (l *lab) mem() *cobra.Command {
	return &cobra.Command{Use: "mem", Short: "Show what each host and each daemon uses", Args: cobra.NoArgs,
		RunE: l.with(func(cmd *cobra.Command, b *bed.Bed, _ []string) error {
			all, err := b.Mem()
			if err != nil {
				return err
			}
			line := func(host, name string, u bed.Usage) {
				fmt.Fprintf(cmd.OutOrStdout(), "%-6s %-12s %7.1f MiB %9d ms cpu\n", host, name, float64(u.Resident)/(1<<20), u.CPU/time.Millisecond)
			}
			for _, h := range all {
				line(h.Host, "total", h.Total)
				for _, name := range sortedKeys(h.Daemons) {
					line(h.Host, name, h.Daemons[name])
				}
			}
			return nil
		})}
}
