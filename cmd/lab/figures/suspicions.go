package figures

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Verdicts are how often a host's daemon called each other one suspect, or dead.
type Verdicts struct {
	Suspected map[string]int `json:"suspected"`
	Failed    map[string]int `json:"failed"`
}

// logs remembers how long every daemon's log was, so that only what comes later is read.
type logs map[string]int64

func (l *Lab) markLogs() (logs, error) {
	marks := logs{}
	for _, h := range l.Hosts {
		path, err := l.M.Bed.Path(h, "log", "orpheus.log")
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("the daemon's log on %s: %w", h, err)
		}
		marks[h] = info.Size()
	}
	return marks, nil
}

// verdicts reads what the daemons have said of one another since the marks, by host.
func (l *Lab) verdicts(marks logs) (map[string]Verdicts, error) {
	all := map[string]Verdicts{}
	for h, offset := range marks {
		path, err := l.M.Bed.Path(h, "log", "orpheus.log")
		if err != nil {
			return nil, err
		}
		v, err := verdictsIn(path, offset)
		if err != nil {
			return nil, fmt.Errorf("the daemon's log on %s: %w", h, err)
		}
		all[h] = v
	}
	return all, nil
}

func verdictsIn(path string, offset int64) (Verdicts, error) {
	f, err := os.Open(path)
	if err != nil {
		return Verdicts{}, err
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return Verdicts{}, err
	}
	return readVerdicts(f)
}

// readVerdicts looks for the lines in which gossip tells a change of a peer's state: `… msg="a peer's state changed" … name=m2 from=alive to=suspect`.
func readVerdicts(r io.Reader) (Verdicts, error) {
	v := Verdicts{map[string]int{}, map[string]int{}}
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if strings.Contains(line, `msg="a peer's state changed"`) {
			switch name := attribute(line, "name"); attribute(line, "to") {
			case "suspect":
				v.Suspected[name]++
			case "failed":
				v.Failed[name]++
			}
		}
		if errors.Is(err, io.EOF) {
			return v, nil
		}
		if err != nil {
			return v, err
		}
	}
}

// attribute is the value of an unquoted key of a slog text line; "" when it is not there.
func attribute(line, key string) string {
	for _, field := range strings.Fields(line) {
		if value, ok := strings.CutPrefix(field, key+"="); ok {
			return value
		}
	}
	return ""
}

// sum adds up verdicts over all hosts.
func sum(all map[string]Verdicts) (suspected, failed int) {
	for _, v := range all {
		for _, n := range v.Suspected {
			suspected += n
		}
		for _, n := range v.Failed {
			failed += n
		}
	}
	return suspected, failed
}
