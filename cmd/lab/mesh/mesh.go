// Package mesh runs orpheus daemons on the hosts of a lab and talks to them as an operator would: with the binary itself.
package mesh

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/orpheus-mesh/orpheus/cmd/lab/bed"
)

// daemon is the name that the bed knows every host's orpheus by.
const daemon = "orpheus"

// Mesh is the orpheus daemons of one lab.
type Mesh struct {
	Bed    *bed.Bed
	Binary string // absolute path of orpheus
	Log    *slog.Logger
}

func (m *Mesh) dirs(host string) (data, run string, err error) {
	data, err = m.Bed.Path(host, "orpheus")
	if err != nil {
		return "", "", err
	}
	run, err = m.Bed.Path(host, "orpheus-run")
	return data, run, err
}

// environment points the operator's commands at the host's daemon.
func (m *Mesh) environment(host string) ([]string, error) {
	_, run, err := m.dirs(host)
	if err != nil {
		return nil, err
	}
	home, err := m.Bed.Path(host, "home")
	return []string{"ORPHEUS_RUN_DIR=" + run, "ORPHEUS_DOCKER=unix://" + m.Bed.Socket(host), "HOME=" + home}, err
}

// Start runs the daemon of a host; an empty token makes a new mesh or resumes the one that the host belongs to.
func (m *Mesh) Start(ctx context.Context, host, token string) error {
	h, err := m.Bed.Host(host)
	if err != nil {
		return err
	}
	data, run, err := m.dirs(h.Name)
	if err != nil {
		return err
	}
	argv := []string{m.Binary, "up", "--name", h.Name, "--data-dir", data, "--run-dir", run,
		"--docker", "unix://" + m.Bed.Socket(h.Name), "--advertise", h.Addr.String(),
		"--region", "region-" + strconv.Itoa(h.Region), "--zone", h.Name, "--access-log", filepath.Join(filepath.Dir(data), "access.log"), "--debug"}
	if token != "" {
		argv = append(argv, "--join", token)
	}
	return m.Bed.Start(h.Name, daemon, argv, "")
}

// Up starts the daemon of a host and waits until it is ready.
func (m *Mesh) Up(ctx context.Context, host, token string) error {
	if err := m.Start(ctx, host, token); err != nil {
		return err
	}
	return m.Ready(ctx, host)
}

// Ready waits until a host's daemon says that it is.
func (m *Mesh) Ready(ctx context.Context, host string) error {
	return Eventually(ctx, 60*time.Second, "orpheus on "+host+" ready", func() error {
		if _, ok := m.Bed.PID(host, daemon); !ok {
			return fmt.Errorf("the daemon is not running: see its log")
		}
		s, err := m.Status(ctx, host)
		if err == nil && !s.Ready {
			err = errors.New("it is still starting")
		}
		return err
	})
}

// Stop ends a host's daemon gracefully; what it runs stays.
func (m *Mesh) Stop(ctx context.Context, host string) error { return m.Bed.Stop(ctx, host, daemon) }

// PID is the process number of a host's daemon.
func (m *Mesh) PID(host string) (int, bool) { return m.Bed.PID(host, daemon) }

// Status is what a host's daemon says of itself, as far as the lab needs it.
type Status struct {
	Name    string
	Ready   bool
	Members int
	Alive   int
	Records int
	Root    string
	RSS     int64
}

// Status asks a host's daemon on its control socket.
func (m *Mesh) Status(ctx context.Context, host string) (s Status, err error) {
	out, err := m.Orpheus(ctx, host, nil, "status", "--json")
	if err != nil {
		return s, err
	}
	err = json.Unmarshal(out, &s)
	return s, err
}

// Command is the operator's command on a host, not started yet.
func (m *Mesh) Command(ctx context.Context, host string, args ...string) (*exec.Cmd, error) {
	env, err := m.environment(host)
	if err != nil {
		return nil, err
	}
	argv := append(append([]string{"env"}, env...), append([]string{m.Binary}, args...)...)
	return m.Bed.CommandContext(ctx, host, argv...), nil
}

// Orpheus runs an operator's command on a host and returns what it prints.
func (m *Mesh) Orpheus(ctx context.Context, host string, stdin io.Reader, args ...string) ([]byte, error) {
	cmd, err := m.Command(ctx, host, args...)
	if err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = stdin, &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("orpheus %s on %s: %w: %s", strings.Join(args, " "), host, err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

// Token makes a join token on a host.
func (m *Mesh) Token(ctx context.Context, host string) (string, error) {
	out, err := m.Orpheus(ctx, host, nil, "token", "create")
	return strings.TrimSpace(string(out)), err
}

// Kubectl runs the embedded kubectl on a host against the daemon there.
func (m *Mesh) Kubectl(ctx context.Context, host string, args ...string) (string, error) {
	out, err := m.Orpheus(ctx, host, nil, append([]string{"kubectl"}, args...)...)
	return string(out), err
}

// Apply sends YAML to the daemon of a host.
func (m *Mesh) Apply(ctx context.Context, host, yaml string) error {
	_, err := m.Orpheus(ctx, host, strings.NewReader(yaml), "kubectl", "apply", "-f", "-")
	return err
}

// Eventually asks every 50 ms until check is content; what it complained of last is in the error.
func Eventually(ctx context.Context, limit time.Duration, what string, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s: %w", what, limit, err)
		case <-tick.C:
		}
	}
}
