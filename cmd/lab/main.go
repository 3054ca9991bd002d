// Command lab builds several real hosts on one machine and breaks them on purpose; see package bed.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"

	"github.com/orpheus-mesh/orpheus/cmd/lab/bed"
	"golang.org/x/sys/unix"
)

func main() {
	if bed.Main() {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	// A command that ran on a host has already said what was wrong: hand on its verdict.
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() > 0 {
		os.Exit(exit.ExitCode())
	}
	fmt.Fprintln(os.Stderr, "lab:", err)
	os.Exit(1)
}
