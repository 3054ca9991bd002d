// Command orpheus is the whole of Orpheus: the daemon that every server runs, and the operator's hand on it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		if errors.Is(err, errMisfit) {
			os.Exit(2)
		}
		if status := ended(0); errors.As(err, &status) {
			os.Exit(int(status))
		}
		if !errors.Is(err, errShown) {
			fmt.Fprintln(os.Stderr, "error:", err)
		}
		os.Exit(1)
	}
}

// errShown ends a command whose message the user has already seen. errMisfit does, too: something would not fit.
var (
	errShown  = errors.New("already shown")
	errMisfit = errors.New("something would not fit")
)

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "orpheus",
		Short:         "A container orchestrator without a conductor",
		Long:          "Orpheus runs Kubernetes workloads on a mesh of equal servers: no master, no quorum, the Kubernetes API on every node.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	settings(cmd.PersistentFlags())
	cmd.AddCommand(up(), restore(), version())
	for _, c := range []*cobra.Command{restart(), token(), members(), status(), kubeconfig(), kubectl(), image(), fence(), conflicts(), lostAndFound(), backup(), explain(), plan(), secrets()} {
		c.PersistentPreRunE = settle // they speak to the daemon: where it is may be said in the file
		cmd.AddCommand(c)
	}
	return cmd
}

// group is a command that only has others below it.
func group(cmd *cobra.Command, below ...*cobra.Command) *cobra.Command {
	cmd.Args = cobra.NoArgs // else what is mistyped would print the help, as if all were well
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(below...)
	return cmd
}

// exactly wants these arguments and, where they are missing, names them.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return fmt.Errorf("%d argument(s) given, want %s: %s", len(args), strings.Join(names, " "), cmd.UseLine())
		}
		return nil
	}
}
