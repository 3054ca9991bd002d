package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-mesh/orpheus/node/control"
)

func restart() *cobra.Command {
	cmd := &cobra.Command{Use: "restart", Short: "Restart this server's daemon; connections that run go on, those that come meanwhile wait", Args: cobra.NoArgs,
		Long: `Have this server's daemon give way to the program that is at its path now, with the arguments that it was started with: an upgrade
is a new file and this command. Pods are not touched. The sockets of ingress, API and DNS stay open, what comes meanwhile waits for
the new daemon. Requests through the ingress get 10 s to end. If some take longer (upgrades, downloads, streams), or logs, exec,
attach, port-forward or watches run, the old process keeps them until they end, --linger at most, and the new daemon is a process beside
it; else the process number stays.

A program that does not run, or that refuses the configuration, is an error, and the daemon goes on. SIGUSR2 asks for the
same and leaves the answer in the log.`}
	limit := cmd.Flags().Duration("timeout", time.Minute, "how long to wait until the new daemon is ready")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), *limit)
		defer cancel()
		d := daemon(cmd)
		before, err := d.Status(ctx)
		if err != nil {
			return err
		}
		begin := time.Now()
		version, err := d.Restart(ctx)
		if err != nil {
			return fmt.Errorf("not restarted, the daemon goes on: %w", err)
		}
		if err := succeeded(ctx, d, before.Since); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "restarted, ready after %.1f s: %s\n", time.Since(begin).Seconds(), version)
		return nil
	}
	return cmd
}

// succeeded waits until a daemon that began after the given time is ready.
func succeeded(ctx context.Context, d *control.Client, before time.Time) error {
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		s, err := d.Status(ctx)
		if err == nil && s.Ready && s.Since.After(before) {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("the new daemon is not ready yet, its log says why: %w", cmp.Or(err, ctx.Err()))
		}
	}
}

// program is the file that a daemon was started as, and that follows it.
type program struct {
	path string
	argv []string
}

// ownProgram finds this program by the name that it was called by, so that a link may point to another one meanwhile.
func ownProgram() (program, error) {
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		path, err = os.Executable()
	}
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return program{}, fmt.Errorf("find this program's file: %w", err)
	}
	return program{path, os.Args}, nil
}

// checkTime bounds the check of an image.
const checkTime = 20 * time.Second

// check has it read its arguments and the configuration, as `orpheus up --check` does, and returns its version.
func (p program) check(ctx context.Context) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	var out, complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, p.path, append(p.argv[1:len(p.argv):len(p.argv)], "--check")...)
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(complaint.String()); text != "" {
			err = errors.New(text)
		}
		return "", fmt.Errorf("%s up --check: %w", p.path, err)
	}
	if version = strings.TrimSpace(out.String()); !strings.HasPrefix(version, "orpheus ") {
		return "", fmt.Errorf("%s up --check: it does not answer as orpheus does", p.path)
	}
	return version, nil
}
