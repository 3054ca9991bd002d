// Command lab builds several real hosts on one machine and breaks them on purpose; see package bed.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	if v := verdict(0); errors.As(err, &v) {
		os.Exit(int(v))
	}
	fmt.Fprintln(os.Stderr, "lab:", err)
	os.Exit(1)
}
