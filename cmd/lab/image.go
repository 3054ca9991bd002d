package main

import (
	"fmt"

	"github.com/orpheus-mesh/orpheus/cmd/lab/bed"
	"github.com/orpheus-mesh/orpheus/cmd/lab/images"
	"github.com/spf13/cobra"
)

func (l *lab) image() *cobra.Command {
	root := &cobra.Command{Use: "image", Short: "Images for tests and the demonstration, made without a registry"}
	root.AddCommand(
		&cobra.Command{Use: "build HOST [IMAGE…]", Short: "Make images in a host's engine (default: all)", Args: cobra.MinimumNArgs(1),
			RunE: l.with(func(cmd *cobra.Command, b *bed.Bed, args []string) error {
				h, err := b.Host(args[0])
				if err != nil {
					return err
				}
				return images.Build(cmd.Context(), "unix://"+b.Socket(h.Name), args[1:]...)
			})},
		&cobra.Command{Use: "ls", Short: "List the images that build can make", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				for _, name := range images.Names() {
					fmt.Fprintln(cmd.OutOrStdout(), name)
				}
				return nil
			}},
	)
	return root
}
