package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
	"github.com/spf13/cobra"
)

func loadCommand() *cobra.Command {
	var (
		cfg     load.Config
		resolve []string
	)
	cmd := &cobra.Command{
		Use: "load --url URL", Short: "Ask a service at a constant rate and report failures as JSON", Args: cobra.NoArgs,
		Long: "Ask a service at a constant rate and report failures as JSON.\n" +
			"Run it outside the mesh: lab exec client lab load --url https://todo.example.test/ --insecure --resolve 10.201.0.11,10.201.0.12",
	}
	f := cmd.Flags()
	f.StringVar(&cfg.URL, "url", "", "what to ask")
	f.StringVar(&cfg.Method, "method", "GET", "how to ask")
	f.StringVar(&cfg.Body, "body", "", "what to send")
	f.Float64Var(&cfg.Rate, "rate", 200, "requests per second")
	f.DurationVar(&cfg.Duration, "duration", 10*time.Second, "how long")
	f.DurationVar(&cfg.Timeout, "timeout", 2*time.Second, "of one request")
	f.BoolVar(&cfg.KeepAlive, "keep-alive", false, "keep connections")
	f.BoolVar(&cfg.Insecure, "insecure", false, "take any certificate")
	f.StringSliceVar(&resolve, "resolve", nil, "addresses (ADDRESS or HOST:ADDRESS) to connect to by turn instead of looking up the URL's host")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for _, r := range resolve {
			addr, err := netip.ParseAddr(r[strings.LastIndex(r, ":")+1:])
			if err != nil {
				return fmt.Errorf("resolve: %q, want an IPv4 address, or a host, a colon and the address", r)
			}
			cfg.Targets = append(cfg.Targets, addr)
		}
		report, err := load.Run(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		out := json.NewEncoder(cmd.OutOrStdout())
		out.SetIndent("", "  ")
		return out.Encode(report)
	}
	return cmd
}
