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

// processes are the containers of one namespace as upstream's stream handlers want them.
type processes struct {
	engine    *docker.Engine
	pods      Pods
	namespace string
}

// ExecInContainer runs cmd; a code other than 0 is an error of the kind that upstream passes on to the user.
func (p processes) ExecInContainer(ctx context.Context, pod, _, container string, cmd []string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	t, err := p.pods.Running(p.namespace, pod, container)
	if err != nil {
		return err
	}
	code, err := p.engine.Exec(ctx, t.ID, cmd, streams(ctx, in, out, errs, tty, resize))
	if err != nil {
		return err
	}
	if code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
	}
	return nil
}

// AttachContainer joins the streams of a container's first process.
func (p processes) AttachContainer(ctx context.Context, pod, _, container string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	t, err := p.pods.Running(p.namespace, pod, container)
	if err != nil {
		return err
	}
	return p.engine.Attach(ctx, t.ID, streams(ctx, in, out, errs, t.TTY || tty, resize))
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
