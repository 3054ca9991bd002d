package main

import (
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
	"github.com/spf13/viper"
	"k8s.io/klog/v2"

	"github.com/orpheus-mesh/orpheus/node"
)

// gcPercent trades a little CPU for memory: most of the daemon's heap is caches that live long.
const gcPercent = 50

func up() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run this server's daemon; the first call makes a new mesh or joins one",
		Long: `Run this server's daemon in the foreground until SIGTERM or SIGINT. Pods keep running when it stops.

The first call on a server makes a new mesh, or joins the one that --join TOKEN names (see "orpheus token create").
Later calls need no token: the server knows its mesh.`,
		Args: cobra.NoArgs,
	}
	nodeFlags(cmd.Flags())
	cmd.Flags().String("join", "", "token of the mesh to join, on the first call only")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := load(cmd)
		if err != nil {
			return err
		}
		if err := cfg.Validate(); err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
		log := logger(cfg.Debug)
		klog.SetSlogLogger(slog.New(quiet{log.With("room", "kubernetes").Handler()}))
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(gcPercent)
		}
		return node.Run(cmd.Context(), cfg, joinToken(cmd), log)
	}
	return cmd
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
