package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

// LogOptions choose a part of a container's output.
type LogOptions struct {
	Follow     bool
	Timestamps bool
	Tail       int64     // lines; below zero means all
	Since      time.Time // zero means from the beginning
	TTY        bool      // the container's own: its output is not multiplexed then
}

// Logs copies a container's output until its end, or with Follow until the container ends. A nil writer skips its stream.
func (e *Engine) Logs(ctx context.Context, id string, o LogOptions, out, errs io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	opts := client.ContainerLogsOptions{ShowStdout: out != nil, ShowStderr: errs != nil, Follow: o.Follow, Timestamps: o.Timestamps, Tail: "all"}
	if o.Tail >= 0 {
		opts.Tail = strconv.FormatInt(o.Tail, 10)
	}
	if !o.Since.IsZero() {
		opts.Since = fmt.Sprintf("%d.%09d", o.Since.Unix(), o.Since.Nanosecond())
	}
	var stop *time.Timer
	if !o.Follow {
		stop = time.AfterFunc(startTimeout, cancel)
		defer stop.Stop()
	}
	res, err := e.c.ContainerLogs(ctx, id, opts)
	if err != nil {
		return fmt.Errorf("logs of container %s: %w", short(id), err)
	}
	defer res.Close()
	if o.TTY {
		_, err = io.Copy(orDiscard(out), res)
	} else {
		_, err = stdcopy.StdCopy(orDiscard(out), orDiscard(errs), res)
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("logs of container %s: %w", short(id), err)
	}
	return nil
}
