package faults

import (
	"errors"
	"fmt"
	"strings"
)

// ports: an address of the ingress that is taken is named and served once it is free; without its API a daemon does not start.
func ports(l lab) {
	l.check(l.m.Stop(l.ctx, "x3"))
	l.check(l.m.Bed.Start("x3", "squatter", []string{"busybox", "httpd", "-f", "-p", "80"}, ""))
	l.listens("x3", "80")
	l.check(l.m.Up(l.ctx, "x3", ""))
	l.says("x3", "! ingress", "0.0.0.0:80", "http-listen", "address already in use")
	l.check(l.m.Bed.Stop(l.ctx, "x3", "squatter"))
	l.soon("the ingress of x3 answers at :80", func() error {
		out, err := l.m.Bed.Exec(l.ctx, "client", "curl", "-s", "-m", "2", "http://"+l.addr("x3")+"/")
		if err != nil {
			return err
		}
		return contains(string(out), "no ingress")
	})
	l.soon("status speaks of it no more", func() error {
		if s := l.status("x3"); strings.Contains(s, "! ingress") {
			return errors.New(s)
		}
		return nil
	})

	l.check(l.m.Stop(l.ctx, "x3"))
	l.check(l.m.Bed.Start("x3", "squatter", []string{"busybox", "httpd", "-f", "-p", "6443"}, ""))
	l.listens("x3", "6443")
	said := len(l.log("x3"))
	l.check(l.m.Start(l.ctx, "x3", ""))
	l.soon("the daemon refuses to start", func() error {
		if _, runs := l.m.PID("x3"); runs {
			return errors.New("it runs")
		}
		return nil
	})
	var message string
	for line := range strings.Lines(l.log("x3")[said:]) {
		if strings.HasPrefix(line, "error: ") {
			message = line
		}
	}
	if err := contains(message, "0.0.0.0:6443", "address already in use", "api-listen"); err != nil {
		l.t.Errorf("the daemon's last word: %v", err)
	}
	l.check(l.m.Bed.Stop(l.ctx, "x3", "squatter"))
	l.check(l.m.Up(l.ctx, "x3", ""))
}

func (l lab) addr(host string) string {
	l.t.Helper()
	h, err := l.m.Bed.Host(host)
	l.check(err)
	return h.Addr.String()
}

func (l lab) listens(host, port string) {
	l.t.Helper()
	l.soon("somebody listens at :"+port, func() error {
		c, err := l.m.Bed.Dial(l.ctx, "client", "tcp", fmt.Sprintf("%s:%s", l.addr(host), port))
		if err == nil {
			err = c.Close()
		}
		return err
	})
}
