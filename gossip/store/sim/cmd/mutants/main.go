// Mutants plants one bug after another into package store, by an overlay of the compiler (no file is changed, and the product
// has no hooks), and tells how many histories of package sim it takes to find each. Run it in the module's root.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const room = "gossip/store"

func main() {
	seeds := flag.Uint64("seeds", 10_000, "histories until a mutant counts as not found")
	only := flag.String("only", "", "mutants whose name contains this")
	patience := flag.Duration("patience", 30*time.Minute, "for one mutant")
	flag.Parse()
	if err := run(*seeds, *only, *patience); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(seeds uint64, only string, patience time.Duration) error {
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return fmt.Errorf("make a place for overlays: %w", err)
	}
	defer os.RemoveAll(dir)
	found, missed := 0, []string{}
	for i, m := range mutants {
		if !strings.Contains(m.name, only) {
			continue
		}
		at, what, err := m.hunt(filepath.Join(dir, strconv.Itoa(i)), seeds, patience)
		if err != nil {
			missed = append(missed, m.name)
			fmt.Printf("%-50s no verdict: %v\n", m.name, err)
			continue
		}
		if at == 0 {
			missed = append(missed, m.name)
			fmt.Printf("%-50s NOT FOUND\n", m.name)
			continue
		}
		found++
		fmt.Printf("%-50s %6d   %s\n", m.name, at, what)
	}
	fmt.Printf("%d of %d found\n", found, found+len(missed))
	if found*100 < 95*(found+len(missed)) {
		return fmt.Errorf("fewer than 95 %%: %s", strings.Join(missed, "; "))
	}
	return nil
}

var faulty = regexp.MustCompile(`(?m)^seed (\d+) at \S+: (.*)$`)

// hunt builds the simulator with the mutant and returns how many histories it took to find it (0: it was not found).
func (m mutant) hunt(dir string, seeds uint64, patience time.Duration) (uint64, string, error) {
	bin, err := m.build(dir)
	if err != nil {
		return 0, "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, bin, "-first", "-count", strconv.FormatUint(seeds, 10)).CombinedOutput()
	if ctx.Err() != nil {
		return 0, "", fmt.Errorf("not found within %s", patience)
	}
	hit := faulty.FindSubmatch(out)
	if hit == nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return 1, "the process died", nil
		}
		return 0, "", err
	}
	n, err := strconv.ParseUint(string(hit[1]), 10, 64)
	what := string(hit[2])
	return n + 1, what[:min(len(what), 100)], err
}

func (m mutant) build(dir string) (string, error) {
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	file := filepath.Join(root, room, m.file)
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return "", fmt.Errorf("its text is %d times in %s", n, m.file)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	changed := filepath.Join(dir, m.file)
	if err := os.WriteFile(changed, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o600); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {file: changed}})
	if err != nil {
		return "", err
	}
	list, bin := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "seeds")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-overlay", list, "-o", bin, "./"+room+"/sim/cmd/seeds").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("it does not compile: %w\n%s", err, out)
	}
	return bin, nil
}
