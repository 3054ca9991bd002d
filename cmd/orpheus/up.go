package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/viper"

	"github.com/orpheus-mesh/orpheus/node"
)

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
		return node.Run(cmd.Context(), cfg, joinToken(cmd), logger(cfg.Debug))
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
