package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/orpheus-mesh/orpheus/node"
	"github.com/orpheus-mesh/orpheus/node/control"
)

// imageBuild runs the engine's own command, so that every flag of `docker build` works, and shares the result.
func imageBuild() *cobra.Command {
	cmd := &cobra.Command{Use: "build -t REF [docker build flags] CONTEXT", Short: "Build an image with this server's engine and share it",
		DisableFlagParsing: true, DisableFlagsInUseLine: true}
	cmd.Flags().StringArrayP("tag", "t", nil, "reference of the image; may be repeated")
	cmd.Flags().String("docker", node.Default().Docker, "address of Docker Engine")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		b, err := parseBuild(args, func(name string) bool { return name != "tag" && cmd.Flags().Lookup(name) != nil })
		if err != nil {
			return err
		}
		if b.help {
			return cmd.Help()
		}
		for name, value := range b.own {
			if err := cmd.Flags().Set(name, value); err != nil {
				return err
			}
		}
		if err := settle(cmd, nil); err != nil {
			return err
		}
		return b.run(cmd)
	}
	return cmd
}

// build is a command line of imageBuild.
type build struct {
	own  map[string]string // flags of orpheus by name
	refs []string
	rest []string // what `docker build` is told
	help bool
}

// parseBuild separates what is ours from what is docker's, of whose flags we need to know only --tag.
func parseBuild(args []string, ours func(name string) bool) (build, error) {
	b := build{own: map[string]string{}}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		name, value, inline := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case arg == "-h" || arg == "--help":
			b.help = true
			return b, nil
		case len(arg) > 2 && strings.HasPrefix(arg, "-t"):
			b.refs = append(b.refs, strings.TrimPrefix(arg[2:], "="))
			continue
		case arg != "-t" && !strings.HasPrefix(arg, "--"), name != "t" && name != "tag" && !ours(name):
			b.rest = append(b.rest, arg)
			continue
		}
		if !inline {
			if i++; i == len(args) {
				return b, fmt.Errorf("%s: a value is missing", arg)
			}
			value = args[i]
		}
		if ours(name) {
			b.own[name] = value
		} else {
			b.refs = append(b.refs, value)
		}
	}
	switch {
	case len(b.refs) == 0:
		return b, errors.New("--tag: give the image a reference, for example -t todo:v1")
	case len(b.rest) == 0:
		return b, errors.New("the directory to build from is missing")
	}
	return b, nil
}

func (b build) run(cmd *cobra.Command) error {
	engine, _ := cmd.Flags().GetString("docker")
	argv := []string{"-H", engine, "build"}
	for _, ref := range b.refs {
		argv = append(argv, "-t", ref)
	}
	docker := exec.CommandContext(cmd.Context(), "docker", append(argv, b.rest...)...)
	docker.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
	docker.Stdin, docker.Stdout, docker.Stderr = os.Stdin, cmd.ErrOrStderr(), cmd.ErrOrStderr()
	if err := docker.Run(); err != nil {
		return fmt.Errorf("docker build: %w", err)
	}
	var all []control.Image
	for _, ref := range b.refs {
		rec, err := daemon(cmd).RememberImage(cmd.Context(), ref)
		if err != nil {
			return err
		}
		all = append(all, rec)
	}
	return printImages(cmd.OutOrStdout(), all)
}
