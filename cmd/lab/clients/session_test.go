package clients

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"regexp"
	"sync"
	"time"
)

// session is a command that runs while the scene goes on.
type session struct {
	a     *actor
	line  string
	stdin io.WriteCloser
	stop  context.CancelFunc
	done  chan struct{} // closed when it has ended
	err   error         // of Wait; read after done

	mu   sync.Mutex // guards the three below
	said bytes.Buffer
	from int           // what expect has consumed
	more chan struct{} // closed at the next output
}

// Write takes what the command says.
func (s *session) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.more)
	s.more = make(chan struct{})
	return s.said.Write(p)
}

// start types a line that goes on; it is ended with the scene.
func (a *actor) start(line string) *session {
	a.t.Helper()
	ctx, stop := context.WithCancel(a.ctx)
	s := &session{a: a, line: line, stop: stop, done: make(chan struct{}), more: make(chan struct{})}
	cmd := a.command(ctx, line)
	cmd.Stdout, cmd.Stderr = s, s
	var err error
	s.stdin, err = cmd.StdinPipe()
	check(a.t, err)
	if err := cmd.Start(); err != nil {
		stop()
		a.t.Fatalf("$ %s\n%v", line, err)
	}
	go func() {
		defer close(s.done)
		s.err = cmd.Wait()
	}()
	a.t.Cleanup(s.kill)
	return s
}

// kill ends the command and waits for it.
func (s *session) kill() {
	s.stop()
	<-s.done
}

// expect waits until what was said since the last expect matches, and returns the match.
func (s *session) expect(want string) string {
	s.a.t.Helper()
	rx := regexp.MustCompile(`(?m)` + want)
	limit := time.NewTimer(soonLimit)
	defer limit.Stop()
	ended := s.done
	for {
		s.mu.Lock()
		rest := s.said.Bytes()[s.from:]
		at := rx.FindIndex(rest)
		text, more := string(rest), s.more
		if at != nil {
			s.from += at[1]
		}
		s.mu.Unlock()
		if at != nil {
			return text[at[0]:at[1]]
		}
		if ended == nil {
			s.a.t.Fatalf("$ %s\nended (%v) without %q, said:\n%s", s.line, s.err, want, clip(text))
		}
		select {
		case <-more:
		case <-ended:
			ended = nil // look once more at what it said last
		case <-limit.C:
			s.a.t.Fatalf("$ %s\nno %q within %s, said:\n%s", s.line, want, soonLimit, clip(text))
		}
	}
}

// send types into the command.
func (s *session) send(text string) {
	s.a.t.Helper()
	if _, err := io.WriteString(s.stdin, text); err != nil {
		s.a.t.Fatalf("$ %s\ntype %q: %v", s.line, text, err)
	}
}

// ends waits for the command's end by itself, with that status.
func (s *session) ends(status int) {
	s.a.t.Helper()
	select {
	case <-s.done:
	case <-time.After(soonLimit):
		s.a.t.Fatalf("$ %s\nit did not end within %s, said:\n%s", s.line, soonLimit, clip(s.all()))
	}
	got := 0
	var exit *exec.ExitError
	if errors.As(s.err, &exit) {
		got = exit.ExitCode()
	} else if s.err != nil {
		got = -1
	}
	if got != status {
		s.a.t.Fatalf("$ %s\nexit status %d (%v), want %d, said:\n%s", s.line, got, s.err, status, clip(s.all()))
	}
}

// all is everything that was said.
func (s *session) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.String()
}
