package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/orpheus-mesh/orpheus/node/control"
)

func explain() *cobra.Command {
	cmd := &cobra.Command{Use: "explain pod NAME", Short: "Why a pod is where it is, or why it is nowhere and what would help", Args: cobra.RangeArgs(1, 2),
		Long: `Show the nodes that could take the pod in order, with the parts of their scores, the first reason against each of the others, which
server decides for it and which ones would after it, and for a pod that fits nowhere what would have to change, and whom it could
preempt with which priority. Any server answers, by what it sees itself.`}
	namespace := cmd.Flags().StringP("namespace", "n", "default", "namespace of the pod")
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := podName(args)
		if err != nil {
			return err
		}
		asJSON, err := output()
		if err != nil {
			return err
		}
		e, err := daemon(cmd).Explain(cmd.Context(), *namespace, name)
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), e)
		}
		return printExplanation(cmd.OutOrStdout(), e)
	}
	return cmd
}

// podName reads "pod NAME" or "pod/NAME".
func podName(args []string) (string, error) {
	kind, name, slash := strings.Cut(strings.Join(args, "/"), "/")
	switch kind {
	case "pod", "pods", "po":
		if slash && name != "" && !strings.Contains(name, "/") {
			return name, nil
		}
	}
	return "", fmt.Errorf("%s: say `orpheus explain pod NAME`", strings.Join(args, " "))
}

// outputFlag gives cmd -o; the answer tells whether JSON is wanted.
func outputFlag(cmd *cobra.Command) func() (asJSON bool, err error) {
	o := cmd.Flags().StringP("output", "o", "", "json, or a table")
	return func() (bool, error) {
		switch *o {
		case "json":
			return true, nil
		case "", "table":
			return false, nil
		}
		return false, fmt.Errorf("--output: %q is not usable: give json, or leave it out", *o)
	}
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func printExplanation(w io.Writer, e control.Explanation) error {
	fmt.Fprintf(w, "pod %s/%s %s\n", e.Namespace, e.Pod, standing(e))
	fmt.Fprintf(w, "home: %s, by rendezvous of %s over %d server(s) in sight", e.Home.Server, e.Home.Root, e.Home.Alive)
	if len(e.Home.Next) > 0 {
		fmt.Fprintf(w, "; after it %s", strings.Join(e.Home.Next, ", "))
	}
	fmt.Fprint(w, "\n\n")
	err := table(w, "NODE\tRANK\tSCORE\tWHY", func(row func(...any)) {
		for i, c := range e.Candidates {
			row(mark(c.Node, e), i+1, c.Score, why(c))
		}
		if more := e.Fits - len(e.Candidates); more > 0 {
			row(fmt.Sprintf("(%d more)", more), "-", "-", "could take it too, but are farther from it by rendezvous")
		}
		for _, r := range e.Refusals {
			row(mark(r.Node, e), "-", "-", strings.Join(r.Reasons, ", "))
		}
	})
	if err != nil {
		return err
	}
	if e.Bound {
		fmt.Fprintln(w, "\n* is its node. The ranks are those of now, as if it were on none: a pod that has a node keeps it.")
	}
	if len(e.Remedies) > 0 {
		fmt.Fprintln(w, "\nIt would fit, the least change first:")
		printRemedies(w, "  ", e.Remedies)
	}
	if e.Room != nil {
		printRoom(w, e.Room)
	}
	for _, n := range e.Notes {
		fmt.Fprintf(w, "\nnote: %s\n", n)
	}
	return nil
}

// printRoom says what preemption does, or would do.
func printRoom(w io.Writer, r *control.Room) {
	leave := strings.Join(r.Leave, ", ")
	if r.Enough {
		fmt.Fprintf(w, "\nBy its priority %s would leave %s for it, as soon as the home is sure of what it sees.\n", leave, r.Node)
		return
	}
	fmt.Fprintf(w, "\nWith a priority of %d or more, and leave to preempt, it would get room on %s: %s would go. No disruption budget stands against it.\n", r.Priority, r.Node, leave)
}

func standing(e control.Explanation) string {
	switch {
	case e.Bound && e.Waits != "":
		return "is on " + e.Node + "; " + e.Waits
	case e.Bound:
		return "is on " + e.Node
	case e.Waits != "":
		return "is not decided on: " + e.Waits
	case e.Node != "":
		return "is about to get " + e.Node
	}
	return "fits nowhere: " + e.Message
}

func mark(node string, e control.Explanation) string {
	if e.Bound && node == e.Node {
		return node + " *"
	}
	return node
}

// why is what speaks for a node.
func why(c control.Candidate) string {
	if c.Last {
		return "only when no other node can take it, because it came and went too often lately: " + parts(c.Parts)
	}
	return parts(c.Parts)
}

func parts(ps []control.Part) string {
	var out []string
	for _, p := range ps {
		out = append(out, fmt.Sprintf("%s %d", p.Name, p.Score))
	}
	if len(out) == 0 {
		return "fits"
	}
	return strings.Join(out, ", ")
}

func printRemedies(w io.Writer, indent string, rs []control.Remedy) {
	for _, r := range rs {
		fmt.Fprintf(w, "%son %s: %s\n", indent, r.Node, strings.Join(r.Changes, "; "))
	}
}
