package docker

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

// Size is a terminal's size in characters.
type Size struct{ Width, Height uint }

// Streams are the ends of a process that a caller holds. Nil ones are not attached. The engine reads In until its end;
// Err stays unused with a TTY.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	TTY      bool
	Resize   <-chan Size
}

// Exec runs cmd in a running container until it ends or ctx does, and gives its exit code. When ctx ends first the process
// lives on in the container: engines cannot kill it.
func (e *Engine) Exec(ctx context.Context, id string, cmd []string, s Streams) (int, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	made, err := e.c.ExecCreate(call, id, client.ExecCreateOptions{Cmd: cmd, TTY: s.TTY,
		AttachStdin: s.In != nil, AttachStdout: s.Out != nil, AttachStderr: s.Err != nil && !s.TTY})
	if err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", short(id), err)
	}
	att, err := e.c.ExecAttach(ctx, made.ID, client.ExecAttachOptions{TTY: s.TTY})
	if err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", short(id), err)
	}
	resize := func(ctx context.Context, z Size) error {
		_, err := e.c.ExecResize(ctx, made.ID, client.ExecResizeOptions{Height: z.Height, Width: z.Width})
		return err
	}
	if err := pump(ctx, att.HijackedResponse, s, resize); err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", short(id), err)
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	res, err := e.c.ExecInspect(end, made.ID, client.ExecInspectOptions{})
	if err != nil {
		return 0, fmt.Errorf("exit code of exec in container %s: %w", short(id), err)
	}
	return res.ExitCode, nil
}

// Attach joins the streams of a container's first process until it ends or ctx does.
func (e *Engine) Attach(ctx context.Context, id string, s Streams) error {
	att, err := e.c.ContainerAttach(ctx, id, client.ContainerAttachOptions{Stream: true,
		Stdin: s.In != nil, Stdout: s.Out != nil, Stderr: s.Err != nil && !s.TTY})
	if err != nil {
		return fmt.Errorf("attach to container %s: %w", short(id), err)
	}
	resize := func(ctx context.Context, z Size) error {
		_, err := e.c.ContainerResize(ctx, id, client.ContainerResizeOptions{Height: z.Height, Width: z.Width})
		return err
	}
	if err := pump(ctx, att.HijackedResponse, s, resize); err != nil {
		return fmt.Errorf("attach to container %s: %w", short(id), err)
	}
	return nil
}

// pump copies between the caller and the process until the process closes its output, or ctx ends. The copier of In may
// outlive it when In blocks: only its owner can end it.
func pump(ctx context.Context, conn client.HijackedResponse, s Streams, resize func(context.Context, Size) error) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, conn.Close)
	defer stop()
	if s.In != nil {
		go func() {
			_, _ = io.Copy(conn.Conn, s.In)
			_ = conn.CloseWrite()
		}()
	}
	done := make(chan struct{})
	defer close(done)
	if s.TTY && s.Resize != nil {
		go follow(ctx, done, s.Resize, resize)
	}
	err := copyOut(conn, s)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func copyOut(conn client.HijackedResponse, s Streams) error {
	out, errs := orDiscard(s.Out), orDiscard(s.Err)
	var err error
	if s.TTY {
		_, err = io.Copy(out, conn.Reader)
	} else {
		_, err = stdcopy.StdCopy(out, errs, conn.Reader)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

func follow(ctx context.Context, done <-chan struct{}, sizes <-chan Size, resize func(context.Context, Size) error) {
	for {
		select {
		case z, ok := <-sizes:
			if !ok {
				return
			}
			call, cancel := context.WithTimeout(ctx, callTimeout)
			_ = resize(call, z) // a process that ended meanwhile has no terminal any more
			cancel()
		case <-done:
			return
		case <-ctx.Done():
			return
		}
	}
}
