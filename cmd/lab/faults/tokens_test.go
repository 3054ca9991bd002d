package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// tokens: each that does not admit says why to the one who joins; a member that was asked says so in its log.
func tokens(l lab) {
	for _, c := range []struct{ name, token, told, logged string }{
		{"reused", l.used, "the token was used already", "the token was used already"},
		{"expired", l.orpheus("x2", "token", "create", "--ttl", "1s"), "the token has expired", "the token has expired"},
		{"garbage", "let-me-in", `the token is not valid: copy it whole, or make a new one with ` + "`orpheus token create`" + ` (it does not begin with "orph1.")`, ""},
		{"cut off", l.used[:len(l.used)-5], "it is cut off or mistyped", ""},
		{"of another mesh", l.foreign, "not a member of the token's mesh", ""},
	} {
		if c.name == "expired" {
			select { // its second has to pass; nothing tells when
			case <-l.ctx.Done():
			case <-time.After(1500 * time.Millisecond):
			}
		}
		before := len(l.refusals())
		err := l.guest(c.token)
		if err == nil || contains(err.Error(), c.told) != nil {
			l.t.Errorf("%s: the joiner is told %v, want %q", c.name, err, c.told)
		}
		if strings.Count(fmt.Sprint(err), "\n") > 1 {
			l.t.Errorf("%s: the joiner is told more than a line: %v", c.name, err)
		}
		if c.logged == "" {
			continue
		}
		l.soon("a member logs the refusal of a token that is "+c.name, func() error {
			all := l.refusals()
			return contains(strings.Join(all[min(before, len(all)):], "\n"), c.logged, "stranger")
		})
	}
	l.sees("x1", len(hosts))
}

// refusals are the lines of all members' logs about servers that were not let in.
func (l lab) refusals() (lines []string) {
	for _, h := range hosts {
		for line := range strings.Lines(l.log(h)) {
			if strings.Contains(line, "refused to admit a server") {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// guest runs a daemon in the lab's client, which must end by itself; its message is the error.
func (l lab) guest(token string) error {
	dir := l.path("client", "guest")
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(l.ctx, patience)
	defer cancel()
	_, err := l.m.Bed.CommandContext(ctx, "client", l.m.Binary, "up", "--name", "stranger", "--data-dir", dir, "--run-dir", dir+"/run", "--join", token).Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || ctx.Err() != nil {
		return fmt.Errorf("it did not end by itself: %w", err)
	}
	for line := range strings.Lines(string(exit.Stderr)) {
		if text, ok := strings.CutPrefix(line, "error: "); ok {
			return errors.New(strings.TrimSpace(text))
		}
	}
	return fmt.Errorf("it ended without a message: %s", exit.Stderr)
}

// foreignToken is of a mesh that x3 made and forgot before it joins the others.
func (l lab) foreignToken() string {
	l.t.Helper()
	l.check(l.m.Up(l.ctx, "x3", ""))
	token, err := l.m.Token(l.ctx, "x3")
	l.check(err)
	l.check(l.m.Stop(l.ctx, "x3"))
	l.check(os.RemoveAll(l.path("x3", "orpheus")))
	return token
}
