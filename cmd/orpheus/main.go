// Command orpheus is the whole of Orpheus: the daemon that every server runs, and the operator's hand on it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
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
	settings(cmd)
	cmd.AddCommand(up(), token(), members(), status(), kubeconfig(), kubectl(), image(), fence(), conflicts(), explain(), plan(), secrets(), version())
	return cmd
}
