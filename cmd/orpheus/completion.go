package main

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-mesh/orpheus/node/control"
)

// patience is how long a shell waits for the daemon's words; a person presses the key again.
const patience = 2 * time.Second

// completeServer offers the other servers of the mesh, with their state. A daemon that does not answer is no reason to complain in
// the middle of a line.
func completeServer(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 || settle(cmd, args) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	members, err := daemon(cmd).Members(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return serverNames(members, toComplete), cobra.ShellCompDirectiveNoFileComp
}

func serverNames(members []control.Member, begin string) (out []cobra.Completion) {
	for _, m := range members {
		if !m.Self && strings.HasPrefix(m.Name, begin) {
			out = append(out, cobra.CompletionWithDesc(m.Name, m.State))
		}
	}
	return out
}

// completeKubectl asks kubectl's own completion, which knows its commands and asks the API for names.
func completeKubectl(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if settle(cmd, args) != nil || ownKubeconfig(cmd) != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	k := upstream(append(append([]string{cobra.ShellCompRequestCmd}, args...), toComplete))
	var out bytes.Buffer
	k.SetOut(&out)
	k.SetErr(io.Discard)
	if k.Execute() != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return completions(out.String())
}

// completions reads what cobra's completion prints: a line for each, at last the directive, ":4".
func completions(printed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	lines := strings.Split(strings.TrimRight(printed, "\n"), "\n")
	last := len(lines) - 1
	directive, err := strconv.Atoi(strings.TrimPrefix(lines[last], ":"))
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return lines[:last], cobra.ShellCompDirective(directive)
}
