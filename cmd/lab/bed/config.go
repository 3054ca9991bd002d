package bed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
)

// DefaultPrefix begins the names of hosts where Config says nothing else.
const DefaultPrefix = "m"

// Config says which lab is meant. The zero value of a field is its default; where a lab already stands in Dir, its own
// prefix, regions and network are the defaults.
type Config struct {
	Dir     string   // everything that the lab writes; default /var/lib/orpheus-lab; at most 60 bytes (unix sockets live below it)
	Prefix  string   // begins every name, one to six lower-case letters; default "m": hosts m1, m2, …
	Hosts   int      // how many hosts Up brings up, at most 200; hosts that exist beyond it stay
	Regions int      // default 1, at most 8; host i lives in region (i-1) mod Regions + 1
	Net     int      // region r is 10.(Net+r).0.0/24; default 200. Two labs at once need different prefixes and networks
	Relay   []string // the command that runs [Relay]; default: this executable with the argument "relay"
	Log     *slog.Logger
}

// shape is what a lab remembers of its Config on disk, so that later commands need not repeat it.
type shape struct {
	Prefix  string `json:"prefix"`
	Regions int    `json:"regions"`
	Net     int    `json:"net"`
}

const (
	defaultDir = "/var/lib/orpheus-lab"
	maxHosts   = 200
	maxRegions = 8
)

var prefixForm = regexp.MustCompile(`^[a-z]{1,6}$`)

// complete fills the empty fields from the lab that stands in Dir, then from the defaults, and refuses what cannot work.
func (c Config) complete() (Config, error) {
	if c.Dir == "" {
		c.Dir = defaultDir
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return c, fmt.Errorf("directory of the lab: %w", err)
	}
	c.Dir = dir
	var old shape
	switch b, err := os.ReadFile(filepath.Join(dir, shapeFile)); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return c, fmt.Errorf("read the shape of the lab: %w", err)
	case json.Unmarshal(b, &old) != nil:
		old = shape{} // torn by a crash: the names in the kernel still tell Down what to remove
	}
	c.Prefix = first(c.Prefix, old.Prefix, DefaultPrefix)
	c.Regions = first(c.Regions, old.Regions, 1)
	c.Net = first(c.Net, old.Net, 200)
	if old.Prefix != "" && (shape{c.Prefix, c.Regions, c.Net}) != old {
		return c, fmt.Errorf("a lab with prefix %q, %d region(s) and network base %d stands in %s: take it down first, or choose another directory",
			old.Prefix, old.Regions, old.Net, dir)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if len(c.Relay) == 0 {
		exe, err := os.Executable()
		if err != nil {
			return c, fmt.Errorf("find the relay's executable: %w", err)
		}
		c.Relay = []string{exe, RelayCommand}
	}
	return c, c.validate()
}

func (c Config) validate() error {
	switch {
	case len(c.Dir) > 60:
		return fmt.Errorf("dir: %q is %d bytes, unix sockets leave room for 60", c.Dir, len(c.Dir))
	case !prefixForm.MatchString(c.Prefix):
		return fmt.Errorf("prefix: %q, want one to six lower-case letters", c.Prefix)
	case c.Hosts < 0 || c.Hosts > maxHosts:
		return fmt.Errorf("hosts: %d, want 0 to %d", c.Hosts, maxHosts)
	case c.Regions < 1 || c.Regions > maxRegions:
		return fmt.Errorf("regions: %d, want 1 to %d", c.Regions, maxRegions)
	case c.Net < 100 || c.Net+c.Regions > 254:
		return fmt.Errorf("net: %d with %d region(s), want 100 to %d (10.32 to 10.47 and 10.96 belong to pods and services)", c.Net, c.Regions, 254-c.Regions)
	}
	return nil
}

const shapeFile = "lab.json"

func (c Config) save() error {
	b, err := json.Marshal(shape{c.Prefix, c.Regions, c.Net})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.Dir, shapeFile), b, 0o644)
}

func first[T comparable](values ...T) T {
	var zero T
	for _, v := range values {
		if v != zero {
			return v
		}
	}
	return zero
}
