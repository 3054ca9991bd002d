package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/orpheus-mesh/orpheus/node/control"
)

// maxManifest bounds what `plan` reads, in bytes.
const maxManifest = 4 << 20

func plan() *cobra.Command {
	cmd := &cobra.Command{Use: "plan -f FILE", Short: "Where the pods of manifests would go, before anything is applied (exit status 2 where something would not fit)", Args: cobra.NoArgs,
		Long: `Show where the pods of FILE (- is standard input) would go if it were applied now and everything had settled: which pods stay, go and
come, on which nodes, which running pods would be moved or preempted, and for what fits nowhere the reason and what would help.
Nothing is written.

What it can't foretell: it shows the end, so a rollout that needs room for its surge may wait although the end fits. New pods have no
identity yet, so among nodes of about equal score others may be chosen. Limit ranges and quotas of FILE itself do not count; CronJobs and
kinds that the API does not know are left out and named. Images and claims are not looked for. With --rebalance it tells which running
pods would make way for what fits nowhere else, one for each, but not which ones would move to new servers. It sees what this server sees at this moment: who is out of sight, or damped because it came and went, gets
nothing. At most 4 MiB of manifests, 1,000 objects, and 20,000 new pods an object.

The exit status is 0 where all fits, 2 where something does not, 1 for errors.`}
	file := cmd.Flags().StringP("filename", "f", "", "file with manifests, YAML or JSON; - for standard input (required)")
	namespace := cmd.Flags().StringP("namespace", "n", "default", "namespace of objects that name none")
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		asJSON, err := output()
		if err != nil {
			return err
		}
		b, err := manifests(*file, cmd.InOrStdin())
		if err != nil {
			return err
		}
		f, err := daemon(cmd).Forecast(cmd.Context(), control.ForecastRequest{Namespace: *namespace, Manifests: b})
		if err != nil {
			return err
		}
		if asJSON {
			err = printJSON(cmd.OutOrStdout(), f)
		} else {
			err = printForecast(cmd.OutOrStdout(), f)
		}
		if err == nil && !f.Fits {
			return errMisfit
		}
		return err
	}
	return cmd
}

func manifests(file string, in io.Reader) ([]byte, error) {
	switch file {
	case "":
		return nil, errors.New("--filename: name the file with the manifests, - for standard input")
	case "-":
	default:
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxManifest+1))
	if err == nil && len(b) > maxManifest {
		err = fmt.Errorf("%s: more than %d MiB of manifests", file, maxManifest>>20)
	}
	return b, err
}

func printForecast(w io.Writer, f control.Forecast) error {
	err := table(w, "OBJECT\tPOD\tFATE\tNODE\tWHY", func(row func(...any)) {
		for _, l := range f.Workloads {
			name := l.Kind + " " + l.Namespace + "/" + l.Name
			if l.Refused != "" {
				row(name, "-", "refused", "-", l.Refused)
			} else if len(l.Pods) == 0 {
				row(name, "-", "-", "-", "no pods")
			}
			for _, p := range l.Pods {
				row(name, p.Name, p.Fate, dash(p.Node), dash(p.Message))
			}
		}
	})
	if err != nil {
		return err
	}
	printMoves(w, "Running pods that would be told to leave:", f.Preempted)
	printMoves(w, "Running pods that would move:", f.Moved)
	for _, l := range f.Workloads {
		printHelp(w, l)
	}
	for _, n := range f.Notes {
		fmt.Fprintf(w, "\nnote: %s\n", n)
	}
	fmt.Fprintf(w, "\n%s\n", tally(f))
	return nil
}

// printHelp says what would let pods fit, once for those of an object that are helped alike.
func printHelp(w io.Writer, l control.WorkloadForecast) {
	var order []string
	alike := map[string][]control.PodForecast{}
	for _, p := range l.Pods {
		if len(p.Remedies) == 0 {
			continue
		}
		k := fmt.Sprint(p.Remedies)
		if alike[k] == nil {
			order = append(order, k)
		}
		alike[k] = append(alike[k], p)
	}
	for _, k := range order {
		ps := alike[k]
		who := l.Namespace + "/" + ps[0].Name
		if n := len(ps) - 1; n > 0 {
			who += fmt.Sprintf(" (and each of %d more)", n)
		}
		fmt.Fprintf(w, "\n%s would fit, the least change first:\n", who)
		printRemedies(w, "  ", ps[0].Remedies)
	}
}

func printMoves(w io.Writer, title string, moves []control.PodMove) {
	if len(moves) > 0 {
		fmt.Fprintf(w, "\n%s\n", title)
	}
	for _, m := range moves {
		fmt.Fprintf(w, "  %s/%s from %s", m.Namespace, m.Pod, m.From)
		if m.To != "" {
			fmt.Fprintf(w, " to %s", m.To)
		}
		if m.For != "" {
			fmt.Fprintf(w, ", to make room for %s", m.For)
		}
		fmt.Fprintln(w)
	}
}

func tally(f control.Forecast) string {
	n := map[control.Fate]int{}
	refused := 0
	for _, l := range f.Workloads {
		if l.Refused != "" {
			refused++
		}
		for _, p := range l.Pods {
			n[p.Fate]++
		}
	}
	out := fmt.Sprintf("%d pod(s) would come, %d go, %d stay", n[control.Comes]+n[control.Preempts]+n[control.Gated]+n[control.Misfit], n[control.Goes], n[control.Stays])
	if n[control.Misfit] > 0 {
		out += fmt.Sprintf("; %d would fit NOWHERE", n[control.Misfit])
	}
	if refused > 0 {
		out += fmt.Sprintf("; the pods of %d object(s) would be refused", refused)
	}
	return out + ". Nothing was applied."
}
