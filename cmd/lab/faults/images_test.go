package faults

import "strings"

// badImages: what is wrong with an image is said by its own word, and no other pod feels it.
func badImages(l lab) {
	before := map[string]string{}
	for _, h := range hosts {
		before[h] = l.processes(h)
	}
	// Nobody listens at the registry's address, in the lab's client.
	for name, ref := range map[string]string{"absent": "10.226.0.2:5000/absent:1", "unreadable": "UPPER CASE//:"} {
		l.apply("x1", "apiVersion: v1\nkind: Pod\nmetadata: {name: "+name+"}\nspec:\n  containers: [{name: main, image: \""+ref+"\"}]\n")
	}
	for name, words := range map[string][]string{
		"absent":     {"ErrImagePull", "10.226.0.2:5000/absent:1", "connection refused", "ImagePullBackOff"},
		"unreadable": {"InvalidImageName", "UPPER CASE//:"},
	} {
		l.soon("describe says what is wrong with the image of "+name, func() error {
			out, err := l.m.Kubectl(l.ctx, "x2", "describe", "pod", name)
			if err != nil {
				return err
			}
			return contains(out, words...)
		})
	}
	for _, h := range hosts {
		now := l.processes(h) // sandboxes of the pods that cannot start may have come to it
		for line := range strings.Lines(before[h]) {
			if !strings.Contains(now, strings.TrimSpace(line)) {
				l.t.Errorf("on %s is no longer %s", h, line)
			}
		}
	}
	l.kubectl("x1", "delete", "pod", "absent", "unreadable")
}
