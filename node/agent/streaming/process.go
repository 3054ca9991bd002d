package streaming

import (
	"context"
	"fmt"
	"io"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/orpheus-mesh/orpheus/node/docker"
)

// process is a running container as upstream's stream handlers want it.
type process struct {
	engine    *docker.Engine
	container Target
}

// ExecInContainer runs cmd; a code other than 0 is an error of the kind that upstream passes on to the user.
func (p process) ExecInContainer(ctx context.Context, _, _, _ string, cmd []string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	code, err := p.engine.Exec(ctx, p.container.ID, cmd, streams(ctx, in, out, errs, tty, resize))
	if err != nil {
		return err
	}
	if code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
	}
	return nil
}

// AttachContainer joins the streams of a container's first process.
func (p process) AttachContainer(ctx context.Context, _, _, _ string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	return p.engine.Attach(ctx, p.container.ID, streams(ctx, in, out, errs, p.container.TTY || tty, resize))
}

// streams leaves out what is not there: a nil *T in an interface would be taken for a stream.
func streams(ctx context.Context, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) docker.Streams {
	s := docker.Streams{TTY: tty}
	if in != nil {
		s.In = in
	}
	if out != nil {
		s.Out = out
	}
	if errs != nil {
		s.Err = errs
	}
	if tty && resize != nil {
		s.Resize = sizes(ctx, resize)
	}
	return s
}

func sizes(ctx context.Context, in <-chan remotecommand.TerminalSize) <-chan docker.Size {
	out := make(chan docker.Size)
	go func() {
		defer close(out)
		for {
			select {
			case z, ok := <-in:
				if !ok {
					return
				}
				select {
				case out <- docker.Size{Width: uint(z.Width), Height: uint(z.Height)}:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
