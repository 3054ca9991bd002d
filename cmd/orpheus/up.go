package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/viper"
	"k8s.io/klog/v2"

	"github.com/orpheus-mesh/orpheus/node"
	"github.com/orpheus-mesh/orpheus/node/sockets"
)

// gcPercent trades a little CPU for memory: most of the daemon's heap is caches that live long.
const gcPercent = 50

func up() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run this server's daemon; the first call makes a new mesh or joins one",
		Long: `Run this server's daemon in the foreground until SIGTERM or SIGINT. Pods keep running when it stops.

The first call on a server makes a new mesh, or joins the one that --join TOKEN names (see "orpheus token create").
Later calls need no token: the server knows its mesh.

SIGUSR2 restarts the daemon as "orpheus restart" does. Sockets for the ingress, the API and DNS may come from systemd (socket activation).`,
		Args: cobra.NoArgs,
	}
	nodeFlags(cmd.Flags())
	cmd.Flags().String("join", "", "token of the mesh to join, on the first call only")
	check := cmd.Flags().Bool("check", false, "check the configuration, print the version and start nothing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		kept, err := sockets.Inherit()
		if err != nil {
			return err
		}
		cfg, err := load(cmd)
		if err != nil {
			return err
		}
		if err := cfg.Validate(); err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
		if *check {
			printVersion(cmd.OutOrStdout())
			return nil
		}
		log := logger(cfg.Debug)
		klog.SetSlogLogger(slog.New(quiet{log.With("room", "kubernetes").Handler()}))
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(gcPercent)
		}
		return live(cmd.Context(), cfg, joinToken(cmd), kept, log)
	}
	return cmd
}

// live runs the daemon and, when another image is to follow, becomes that or makes way for it.
func live(ctx context.Context, cfg node.Config, token string, kept *sockets.Keeper, log *slog.Logger) error {
	next, err := ownProgram()
	if err != nil {
		return err
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR2)
	l := line{next, kept, takeManager(), log}
	leave := l.attend(ctx)
	defer leave()
	left, err := node.Run(ctx, cfg, token, node.Succession{Sockets: kept, Check: next.check, Asked: asked, Ready: func() { l.notify("READY=1") }}, log)
	if !errors.Is(err, node.ErrSucceeded) {
		return err
	}
	if left == nil {
		return l.follow()
	}
	leave() // who gets a signal now is told apart by it
	return l.stay(ctx, left)
}

func joinToken(cmd *cobra.Command) string {
	v := viper.New()
	_ = v.BindPFlag("join", cmd.Flags().Lookup("join"))
	_ = v.BindEnv("join", "ORPHEUS_JOIN")
	return v.GetString("join")
}

func logger(debug bool) *slog.Logger {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
