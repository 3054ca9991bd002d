package agent

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// hostnameMost is the kernel's bound on host names.
const hostnameMost = 63

// hostnameOf is a pod's own name and its domain in the mesh, as its spec asks.
func hostnameOf(pod *v1.Pod, clusterDomain string) (name, domain string) {
	name = pod.Name
	if pod.Spec.Hostname != "" {
		name = pod.Spec.Hostname
	}
	name = strings.TrimRight(name[:min(len(name), hostnameMost)], "-.")
	if pod.Spec.Subdomain != "" {
		domain = fmt.Sprintf("%s.%s.svc.%s", pod.Spec.Subdomain, pod.Namespace, clusterDomain)
	}
	if pod.Spec.HostnameOverride != nil && *pod.Spec.HostnameOverride != "" {
		return *pod.Spec.HostnameOverride, ""
	}
	return name, domain
}

// hostsFile is a pod's /etc/hosts. A pod in the host's network keeps the host's own lines.
func hostsFile(pod *v1.Pod, addr netip.Addr, hostname, domain string, ofHost []byte) []byte {
	var b bytes.Buffer
	if pod.Spec.HostNetwork {
		b.Write(ofHost)
	} else {
		b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
		names := hostname
		if domain != "" {
			names = hostname + "." + domain + "\t" + hostname
		}
		fmt.Fprintf(&b, "%s\t%s\n", addr, names)
	}
	for _, a := range pod.Spec.HostAliases {
		fmt.Fprintf(&b, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
	}
	return b.Bytes()
}

// resolver is what /etc/resolv.conf says.
type resolver struct{ Servers, Search, Options []string }

// Bounds of resolvers, as the field's validation has them.
const (
	resolverServers = 3
	resolverSearch  = 32
)

func parseResolver(b []byte) (r resolver) {
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			r.Servers = append(r.Servers, f[1])
		case "search":
			r.Search = f[1:]
		case "options":
			r.Options = f[1:]
		}
	}
	return r
}

// resolverOf is a pod's resolver by its dnsPolicy and dnsConfig.
func resolverOf(pod *v1.Pod, dns netip.Addr, clusterDomain string, host resolver) resolver {
	cluster := resolver{Servers: []string{dns.String()}, Options: []string{"ndots:5"}, Search: append([]string{
		pod.Namespace + ".svc." + clusterDomain, "svc." + clusterDomain, clusterDomain}, host.Search...)}
	r := cluster
	switch pod.Spec.DNSPolicy {
	case v1.DNSDefault:
		r = host
	case v1.DNSNone:
		r = resolver{}
	case v1.DNSClusterFirst, "":
		if pod.Spec.HostNetwork {
			r = host
		}
	}
	if c := pod.Spec.DNSConfig; c != nil {
		r.Servers = append(slices.Clone(r.Servers), c.Nameservers...)
		r.Search = append(slices.Clone(r.Search), c.Searches...)
		r.Options = mergeOptions(r.Options, c.Options)
	}
	r.Servers, r.Search = unique(r.Servers, resolverServers), unique(r.Search, resolverSearch)
	return r
}

// mergeOptions lets the pod's options replace those of the same name.
func mergeOptions(base []string, more []v1.PodDNSConfigOption) []string {
	out := slices.Clone(base)
	for _, o := range more {
		out = slices.DeleteFunc(out, func(have string) bool { return have == o.Name || strings.HasPrefix(have, o.Name+":") })
		text := o.Name
		if o.Value != nil && *o.Value != "" {
			text += ":" + *o.Value
		}
		out = append(out, text)
	}
	return out
}

func unique(all []string, most int) (out []string) {
	for _, s := range all {
		if !slices.Contains(out, s) && len(out) < most {
			out = append(out, s)
		}
	}
	return out
}

func (r resolver) file() []byte {
	var b bytes.Buffer
	if len(r.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.Search, " "))
	}
	for _, s := range r.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(r.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(r.Options, " "))
	}
	return b.Bytes()
}

// writeHostFiles writes a pod's hosts and resolv.conf under dir. Files that are there already stay the same file: they are
// mounted into running containers.
func (a *Agent) writeHostFiles(pod *v1.Pod, addr netip.Addr, dir string) error {
	name, domain := hostnameOf(pod, a.cfg.ClusterDomain)
	ofHost, _ := os.ReadFile("/etc/hosts") // a host without one has nothing to hand on
	resolv, _ := os.ReadFile("/etc/resolv.conf")
	files := map[string][]byte{
		"hosts":       hostsFile(pod, addr, name, domain, ofHost),
		"resolv.conf": resolverOf(pod, a.cfg.ClusterDNS, a.cfg.ClusterDomain, parseResolver(resolv)).file(),
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("make directory of pod: %w", err)
	}
	for file, text := range files {
		path := filepath.Join(dir, file)
		if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, text) {
			continue
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return fmt.Errorf("write %s of pod: %w", file, err)
		}
	}
	return nil
}
