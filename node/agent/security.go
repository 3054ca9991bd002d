package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	v1 "k8s.io/api/core/v1"
)

// security puts a container's security context into engine terms. imageUser is whom the image would run as.
func (a *Agent) security(pod *v1.Pod, c *v1.Container, imageUser string, conf *container.Config, host *container.HostConfig) error {
	ps, cs := pod.Spec.SecurityContext, c.SecurityContext
	if ps == nil {
		ps = &v1.PodSecurityContext{}
	}
	if cs == nil {
		cs = &v1.SecurityContext{}
	}
	conf.User = userAndGroup(or(cs.RunAsUser, ps.RunAsUser), or(cs.RunAsGroup, ps.RunAsGroup), imageUser)
	if must := or(cs.RunAsNonRoot, ps.RunAsNonRoot); must != nil && *must {
		if err := notRoot(conf.User); err != nil {
			return err
		}
	}
	for _, g := range ps.SupplementalGroups {
		host.GroupAdd = append(host.GroupAdd, strconv.FormatInt(g, 10))
	}
	if ps.FSGroup != nil {
		host.GroupAdd = append(host.GroupAdd, strconv.FormatInt(*ps.FSGroup, 10))
	}
	if cs.Capabilities != nil {
		host.CapAdd, host.CapDrop = names(cs.Capabilities.Add), names(cs.Capabilities.Drop)
	}
	host.Privileged = cs.Privileged != nil && *cs.Privileged
	host.ReadonlyRootfs = cs.ReadOnlyRootFilesystem != nil && *cs.ReadOnlyRootFilesystem
	if cs.AllowPrivilegeEscalation != nil && !*cs.AllowPrivilegeEscalation {
		host.SecurityOpt = append(host.SecurityOpt, "no-new-privileges")
	}
	if cs.ProcMount != nil && *cs.ProcMount == v1.UnmaskedProcMount {
		host.MaskedPaths, host.ReadonlyPaths = []string{}, []string{}
	}
	profile := ps.SeccompProfile
	if cs.SeccompProfile != nil {
		profile = cs.SeccompProfile
	}
	return a.seccomp(profile, host)
}

// seccomp: without a profile the engine's default holds, which is stricter than the field's default of none at all.
func (a *Agent) seccomp(p *v1.SeccompProfile, host *container.HostConfig) error {
	if p == nil {
		return nil
	}
	switch p.Type {
	case v1.SeccompProfileTypeUnconfined:
		host.SecurityOpt = append(host.SecurityOpt, "seccomp=unconfined")
	case v1.SeccompProfileTypeLocalhost:
		if p.LocalhostProfile == nil || !filepath.IsLocal(*p.LocalhostProfile) {
			return fmt.Errorf("seccompProfile.localhostProfile must be a path below %s", filepath.Join(a.cfg.Dir, "seccomp"))
		}
		text, err := os.ReadFile(filepath.Join(a.cfg.Dir, "seccomp", *p.LocalhostProfile))
		if err != nil {
			return fmt.Errorf("seccompProfile.localhostProfile: %w", err)
		}
		host.SecurityOpt = append(host.SecurityOpt, "seccomp="+string(text))
	}
	return nil
}

func or[T any](first, second *T) *T {
	if first != nil {
		return first
	}
	return second
}

func names(caps []v1.Capability) (out []string) {
	for _, c := range caps {
		out = append(out, string(c))
	}
	return out
}

// userAndGroup is the engine's "user:group". A group without a user keeps the image's user.
func userAndGroup(user, group *int64, image string) string {
	u := image
	if user != nil {
		u = strconv.FormatInt(*user, 10)
	}
	if group != nil {
		if u == "" {
			u = "0"
		}
		u, _, _ = strings.Cut(u, ":")
		u += ":" + strconv.FormatInt(*group, 10)
	}
	return u
}

// notRoot refuses a user that is root, or whose number nobody can know before it runs.
func notRoot(user string) error {
	name, _, _ := strings.Cut(user, ":")
	if name == "" {
		return fmt.Errorf("container has runAsNonRoot and image will run as root: set securityContext.runAsUser")
	}
	uid, err := strconv.ParseInt(name, 10, 64)
	if err != nil {
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root: set securityContext.runAsUser", name)
	}
	if uid == 0 {
		return fmt.Errorf("container's runAsUser breaks non-root policy: user 0 is root")
	}
	return nil
}
