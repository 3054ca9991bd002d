package figures

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
)

// Result is one figure's rows and the runs that they were made of.
type Result struct {
	Figure     string        `json:"figure"`
	Started    time.Time     `json:"started"`
	Took       load.Duration `json:"took"`
	Hosts      []string      `json:"hosts"`
	Rows       []Row         `json:"rows"`
	Runs       any           `json:"runs,omitempty"`
	Notes      []string      `json:"notes,omitempty"`
	Unmeasured []string      `json:"unmeasured,omitempty"` // runs that failed, and why; they are in no row
}

// Missed tells whether a promise was not kept, or could not be shown to be.
func (r *Result) Missed() bool {
	return len(r.Unmeasured) > 0 || slices.ContainsFunc(r.Rows, func(row Row) bool { return row.Met != nil && !*row.Met })
}

// Print writes the rows as a table that is also Markdown.
func (r *Result) Print(w io.Writer) {
	fmt.Fprintf(w, "| %-58s | %9s | %9s | %4s | %-26s | %-6s |\n", r.Figure, "median", "worst", "n", "promised", "")
	fmt.Fprintf(w, "|%s|%s:|%s:|%s:|%s|%s|\n", dashes(60), dashes(10), dashes(10), dashes(5), dashes(28), dashes(8))
	for _, row := range r.Rows {
		what := row.What
		if row.Unit != "" {
			what += ", " + row.Unit
		}
		fmt.Fprintf(w, "| %-58s | %9s | %9s | %4d | %-26s | %-6s |\n", what, number(row.Median), number(row.Worst), row.N, row.Goal, row.verdict())
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "\n%s\n", n)
	}
	for _, u := range r.Unmeasured {
		fmt.Fprintf(w, "\nnot measured: %s\n", u)
	}
}

func dashes(n int) string { return string(slices.Repeat([]byte("-"), n)) }

// Keep writes results into a JSON file. Figures of other names that the file holds already stay, so that figures can be taken one by one.
func Keep(file string, results ...*Result) error {
	var all []*Result
	switch b, err := os.ReadFile(file); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(b, &all); err != nil {
			return fmt.Errorf("%s holds something else than figures: %w", file, err)
		}
	}
	for _, r := range results {
		all = slices.DeleteFunc(all, func(old *Result) bool { return old.Figure == r.Figure })
		all = append(all, r)
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".new")
	if err := os.WriteFile(temp, append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, file)
}
