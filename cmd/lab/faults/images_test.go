package faults

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/orpheus-mesh/orpheus/cmd/lab/mesh"
)

// What registries of x1 do; engines take 127.0.0.1 for insecure.
const (
	openRegistry    = "127.0.0.1:5000"
	lockedRegistry  = "127.0.0.1:5001"
	brokenRegistry  = "127.0.0.1:5002" // answers 500
	silentRegistry  = "127.0.0.1:5003" // takes connections and says nothing
	refusedRegistry = "127.0.0.1:5009" // nobody listens

	silence = time.Minute // how long a pull may show no progress
)

// badImages: what is wrong with an image is said by its own word and within bounds, no other pod feels it, and whoever waits for an
// image starts by himself once it is there.
func badImages(l lab) {
	if _, err := exec.LookPath("docker-registry"); err != nil {
		l.t.Skip("needs docker-registry: run `make setup`")
	}
	before := map[string]string{}
	for _, h := range hosts {
		before[h] = l.processes(h)
	}
	l.registries()
	for _, p := range []struct{ name, image, more, policy string }{
		{"absent", openRegistry + "/absent:1", "", "IfNotPresent"},
		{"private", lockedRegistry + "/private:1", "imagePullSecrets: [{name: key}]", "Always"},
		{"refused", refusedRegistry + "/refused:1", "", "IfNotPresent"},
		{"broken", brokenRegistry + "/broken:1", "", "IfNotPresent"},
		{"silent", silentRegistry + "/silent:1", "", "IfNotPresent"},
		{"nameless", "registry.invalid:5000/nameless:1", "", "IfNotPresent"},
		{"unreadable", "UPPER CASE//:", "", "IfNotPresent"},
		{"never", "never:1", "", "Never"},
	} {
		l.apply("x2", fmt.Sprintf(waiting, p.name, p.more, p.image, p.policy))
	}
	for name, words := range map[string][]string{
		"absent":     {openRegistry + "/absent:1", "ImagePullBackOff", "ErrImagePull", "image not found", "manifest unknown"},
		"private":    {lockedRegistry + "/private:1", "ImagePullBackOff", "access to the image was denied", "FailedToRetrieveImagePullSecret"},
		"refused":    {refusedRegistry + "/refused:1", "ImagePullBackOff", "connection refused"},
		"broken":     {brokenRegistry + "/broken:1", "ImagePullBackOff", "500 Internal Server Error"},
		"silent":     {silentRegistry + "/silent:1", "ImagePullBackOff"},
		"nameless":   {"registry.invalid:5000/nameless:1", "ImagePullBackOff"},
		"unreadable": {"UPPER CASE//:", "InvalidImageName"},
		"never":      {"never:1", "ErrImageNeverPull", "not present with pull policy of Never"},
	} {
		l.check(mesh.Eventually(l.ctx, silence+patience, "describe says what is wrong with the image of "+name, func() error {
			out, err := l.m.Kubectl(l.ctx, "x2", "describe", "pod", name)
			if err != nil {
				return err
			}
			return contains(out, words...)
		}))
	}
	l.counted("absent", "Pulling", "Failed", "BackOff")
	l.imagesCome()
	for _, h := range hosts {
		now := l.processes(h) // sandboxes of the pods that cannot start may have come to it
		for line := range strings.Lines(before[h]) {
			if !strings.Contains(now, strings.TrimSpace(line)) {
				l.t.Errorf("on %s is no longer %s", h, line)
			}
		}
	}
	l.kubectl("x1", "delete", "secret", "key")
	l.kubectl("x1", "delete", "pod", "absent", "private", "refused", "broken", "silent", "nameless", "unreadable", "never")
	for _, name := range []string{"open", "locked", "broken", "silent"} {
		l.check(l.m.Bed.Stop(l.ctx, "x1", name))
	}
}

const waiting = `
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  nodeName: x1
  terminationGracePeriodSeconds: 1
  %s
  containers: [{name: main, image: %q, imagePullPolicy: %s, command: [sleep, "100000"]}]
`

// registries starts them on x1: two real ones, and two that only pretend.
func (l lab) registries() {
	l.t.Helper()
	keys := l.path("x1", "htpasswd")
	l.check(os.WriteFile(keys, []byte("user:$2y$05$.n8EZ88BNNRHXbpC3LlGJOgUU1WtF.cnC2zaC8Ed9/gBx3D4GAFp6\n"), 0o600)) // user, secret
	for name, c := range map[string][2]string{"open": {openRegistry, ""}, "locked": {lockedRegistry, "auth: {htpasswd: {realm: lab, path: " + keys + "}}\n"}} {
		config := l.path("x1", name+".yaml")
		l.check(os.WriteFile(config, fmt.Appendf(nil, "version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n%s", l.path("x1", "registry-"+name), c[0], c[1]), 0o600))
		l.check(l.m.Bed.Start("x1", name, []string{"docker-registry", "serve", config}, ""))
	}
	const broken = `while read -r l && [ "$l" != "$(printf '\r')" ]; do :; done; printf 'HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'`
	l.check(l.m.Bed.Start("x1", "broken", []string{"busybox", "nc", "-ll", "-p", "5002", "-e", "sh", "-c", broken}, ""))
	l.check(l.m.Bed.Start("x1", "silent", []string{"busybox", "nc", "-ll", "-p", "5003", "-e", "sleep", "100000"}, ""))
	for _, registry := range []string{openRegistry, lockedRegistry, brokenRegistry} {
		l.soon(registry+" answers", func() error {
			_, err := l.m.Bed.Exec(l.ctx, "x1", "curl", "-s", "-m", "2", registry+"/v2/")
			return err
		})
	}
}

// imagesCome puts images where they were missed: one is pushed, for one comes the key, one is shared by another host, one is built
// there, one is loaded out of an archive.
func (l lab) imagesCome() {
	l.t.Helper()
	config := l.path("x1", "docker-config")
	must := func(host string, args ...string) {
		l.t.Helper()
		_, err := l.docker(host, args...)
		l.check(err)
	}
	// Pushed by another name of the registry: the engine itself must not have them under the pods'.
	pushed := strings.NewReplacer("127.0.0.1", "localhost")
	must("x1", "--config", config, "login", "-u", "user", "-p", "secret", pushed.Replace(lockedRegistry))
	for _, image := range []string{openRegistry + "/absent:1", lockedRegistry + "/private:1"} {
		must("x1", "tag", "busybox:1", pushed.Replace(image))
		must("x1", "--config", config, "push", pushed.Replace(image))
	}
	l.kubectl("x1", "create", "secret", "docker-registry", "key", "--docker-server="+lockedRegistry, "--docker-username=user", "--docker-password=secret")
	must("x2", "tag", "busybox:1", refusedRegistry+"/refused:1")
	l.orpheus("x2", "image", "add", refusedRegistry+"/refused:1")
	context := l.path("x3", "build")
	l.check(os.MkdirAll(context, 0o755))
	l.check(os.WriteFile(filepath.Join(context, "Dockerfile"), []byte("FROM busybox:1\nENV BUILT=here\n"), 0o600))
	l.orpheus("x3", "image", "build", "-t", "registry.invalid:5000/nameless:1", context)
	archive := l.path("x1", "never.tar")
	must("x1", "tag", "busybox:1", "never:1")
	must("x1", "save", "-o", archive, "never:1")
	must("x1", "rmi", "never:1")
	l.orpheus("x1", "image", "load", archive)
	l.soon("every host knows what was shared, built and loaded", func() error {
		for _, h := range hosts {
			out, err := l.m.Orpheus(l.ctx, h, nil, "image", "ls")
			if err == nil {
				err = contains(string(out), refusedRegistry+"/refused:1", "registry.invalid:5000/nameless:1", "never:1")
			}
			if err != nil {
				return fmt.Errorf("%s: %w", h, err)
			}
		}
		return nil
	})
	for _, name := range []string{"absent", "private", "refused", "nameless", "never"} {
		l.check(mesh.Eventually(l.ctx, 3*patience, name+" starts by itself", func() error {
			phase, err := l.m.Kubectl(l.ctx, "x1", "get", "pod", name, "-o", "jsonpath={.status.phase}")
			if err == nil && phase != "Running" {
				err = fmt.Errorf("it is %s", phase)
			}
			return err
		}))
	}
}

// counted waits until events of the pod were told more than once, each in one object.
func (l lab) counted(pod string, reasons ...string) {
	l.t.Helper()
	for _, reason := range reasons {
		l.soon(fmt.Sprintf("events %s of %s are counted", reason, pod), func() error {
			counts, err := l.m.Kubectl(l.ctx, "x1", "get", "events", "--field-selector", "involvedObject.name="+pod+",reason="+reason, "-o", "jsonpath={.items[*].count}")
			if err != nil {
				return err
			}
			for _, n := range strings.Fields(counts) {
				if n == "1" {
					return fmt.Errorf("counts %s", counts)
				}
			}
			if counts == "" {
				return fmt.Errorf("there is none")
			}
			return nil
		})
	}
}
