package faults

import (
	"errors"
	"fmt"
)

// conflicts: the same object edited on both sides of a cut keeps both edits until a person settles it.
func conflicts(l lab) {
	l.kubectl("x1", "create", "configmap", "libretto", "--from-literal=act=first")
	l.calm()
	l.check(l.m.Bed.Isolate("x3"))
	l.sees("x1", 2)
	l.sees("x3", 1)
	edit := func(host, act string) {
		l.t.Helper()
		l.apply(host, fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: libretto}\ndata: {act: %s}\n", act))
	}
	edit("x1", "of-the-majority")
	edit("x3", "of-the-one-cut-off")
	l.check(l.m.Bed.Join("x3"))
	l.calm()
	executes := l.kubectl("x1", "get", "configmap", "libretto", "-o", "jsonpath={.data.act}")
	if executes != "of-the-majority" && executes != "of-the-one-cut-off" {
		l.t.Errorf("%q executes, which nobody wrote last", executes)
	}
	for _, h := range hosts {
		if out := l.kubectl(h, "get", "configmap", "libretto", "-o", "jsonpath={.data.act}"); out != executes {
			l.t.Errorf("%s executes %q, x1 %q", h, out, executes)
		}
		out := l.orpheus(h, "conflicts", "--full")
		if err := contains(out, "libretto", "executes: by", "waits: by", "of-the-majority", "of-the-one-cut-off", "by x1", "by x3", "write the object once more"); err != nil {
			l.t.Errorf("conflicts on %s: %v", h, err)
		}
		l.says(h, "! objects: 1 object(s)", "orpheus conflicts")
	}
	edit("x2", "of-the-one-who-settles")
	for _, h := range hosts {
		l.soon("settled on "+h, func() error {
			out, err := l.m.Orpheus(l.ctx, h, nil, "conflicts")
			if err != nil {
				return err
			}
			if err := contains(string(out), "no conflicts"); err != nil {
				return err
			}
			got, err := l.m.Kubectl(l.ctx, h, "get", "configmap", "libretto", "-o", "jsonpath={.data.act}")
			if err == nil && got != "of-the-one-who-settles" {
				err = errors.New("it executes " + got)
			}
			return err
		})
	}
}
