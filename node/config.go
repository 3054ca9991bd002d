package node

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/orpheus-mesh/orpheus/placement"
)

// Config is all that an operator decides about one server. Names in `key` tags are those of flags, of the configuration
// file and, in capitals after ORPHEUS_ with '_' for '-', of the environment.
type Config struct {
	Name      string        // node name; a DNS label or subdomain
	DataDir   string        // state that must survive restarts
	RunDir    string        // control socket and what may vanish at a reboot
	Region    string        // topology.kubernetes.io/region
	Zone      string        // topology.kubernetes.io/zone
	Docker    string        // address of Docker Engine
	Listen    string        // mesh, UDP and TCP
	Advertise string        // address that peers reach this server at; "" : that of the default route
	API       string        // Kubernetes API
	Streaming string        // logs, exec, attach and port-forward of the pods here
	HTTP      string        // ingress without TLS; "" : none
	HTTPS     string        // ingress with TLS; "" : none
	PodCIDR   string        // the same on every server
	Services  string        // the same on every server
	Domain    string        // DNS domain of the mesh
	MDNS      bool          // find servers on the LAN where a token's addresses do not answer
	Backend   string        // auto, host-gw or vxlan
	Reserved  []string      // resources kept from pods: cpu=100m,memory=256Mi
	Labels    []string      // labels of the node: key=value
	Rebalance string        // off, gentle or eager: when servers join, running pods move to them; the same on every server
	Linger    time.Duration // how long connections through ingress and API outlive a restart of the daemon; 0: they are cut
	AccessLog string        // file of the ingress access log, "-" for standard output, "" for none
	Debug     bool          // log at debug level
}

// Default is the configuration of a server that was told nothing.
func Default() Config {
	host, _ := os.Hostname()
	return Config{
		Name: strings.ToLower(host), DataDir: "/var/lib/orpheus", RunDir: "/run/orpheus",
		Docker: "unix:///var/run/docker.sock",
		Listen: "0.0.0.0:7946", API: "0.0.0.0:6443", Streaming: "0.0.0.0:10250", HTTP: "0.0.0.0:80", HTTPS: "0.0.0.0:443",
		PodCIDR: "10.32.0.0/12", Services: "10.96.0.0/16", Domain: "cluster.local", MDNS: true, Backend: "auto",
		Rebalance: "off", Linger: time.Hour,
	}
}

// eagerness is what the words of Rebalance mean.
var eagerness = map[string]placement.Rebalance{"off": placement.Off, "gentle": placement.Gentle, "eager": placement.Eager}

// slotBits is the size of one server's piece of the pod network: a /24.
const slotBits = 24

// Validate names every field that can't be right, all at once, with the mend.
func (c Config) Validate() error {
	var errs []error
	bad := func(field, value, mend string) {
		errs = append(errs, fmt.Errorf("%s: %q is not usable: %s", field, value, mend))
	}
	if len(validation.IsDNS1123Subdomain(c.Name)) > 0 {
		bad("name", c.Name, "use lower-case letters, digits, '-' and '.', at most 253 of them, with a letter or digit at each end and beside each '.'")
	}
	for _, dir := range []struct{ field, path string }{{"data-dir", c.DataDir}, {"run-dir", c.RunDir}} {
		if !filepath.IsAbs(dir.path) {
			bad(dir.field, dir.path, "give an absolute path")
		}
	}
	for _, place := range []struct{ field, label string }{{"region", c.Region}, {"zone", c.Zone}} {
		if len(validation.IsValidLabelValue(place.label)) > 0 {
			bad(place.field, place.label, labelMend)
		}
	}
	c.validateListeners(bad)
	if addr, err := netip.ParseAddr(c.Advertise); c.Advertise != "" && (err != nil || !addr.Is4() || addr.IsUnspecified()) {
		bad("advertise", c.Advertise, "give one IPv4 address of this server")
	}
	if len(validation.IsDNS1123Subdomain(c.Domain)) > 0 {
		bad("domain", c.Domain, "give a DNS name, for example cluster.local")
	}
	pods, err := netip.ParsePrefix(c.PodCIDR)
	if err != nil || !pods.Addr().Is4() || pods.Bits() > slotBits-2 {
		bad("pod-cidr", c.PodCIDR, "give an IPv4 network of /22 or larger, for example 10.32.0.0/12; each server takes a /24 of it")
	}
	services, err := netip.ParsePrefix(c.Services)
	if err != nil || !services.Addr().Is4() || services.Bits() > 24 {
		bad("service-cidr", c.Services, "give an IPv4 network of /24 or larger, for example 10.96.0.0/16")
	} else if pods.IsValid() && pods.Overlaps(services) {
		bad("service-cidr", c.Services, "it overlaps pod-cidr "+c.PodCIDR)
	}
	if c.Backend != "auto" && c.Backend != "host-gw" && c.Backend != "vxlan" {
		bad("backend", c.Backend, "use auto, host-gw or vxlan")
	}
	if _, known := eagerness[c.Rebalance]; !known {
		bad("rebalance", c.Rebalance, "use off, gentle or eager")
	}
	if c.Linger < 0 {
		bad("linger", c.Linger.String(), "give a duration, for example 1h, or 0 to have a restart cut connections")
	}
	if scheme, at, _ := strings.Cut(c.Docker, "://"); at == "" || !slices.Contains([]string{"unix", "tcp", "http", "https"}, scheme) {
		bad("docker", c.Docker, "give the engine's address, for example unix:///var/run/docker.sock")
	}
	if _, err := resources(c.Reserved); err != nil {
		bad("reserved", strings.Join(c.Reserved, ","), err.Error())
	}
	if err := validLabels(c.Labels); err != nil {
		bad("label", strings.Join(c.Labels, ","), err.Error())
	}
	return errors.Join(errs...)
}

// validateListeners wants each to be ADDRESS:PORT, and no two at the same port of one address.
func (c Config) validateListeners(bad func(field, value, mend string)) {
	type listener struct {
		field string
		at    netip.AddrPort
	}
	var all []listener
	for _, l := range []struct{ field, addr string }{
		{"listen", c.Listen}, {"api-listen", c.API}, {"streaming-listen", c.Streaming}, {"http-listen", c.HTTP}, {"https-listen", c.HTTPS},
	} {
		if l.addr == "" && strings.HasPrefix(l.field, "http") {
			continue
		}
		at, err := netip.ParseAddrPort(l.addr)
		if err != nil {
			bad(l.field, l.addr, "give ADDRESS:PORT, for example 0.0.0.0:7946")
			continue
		}
		for _, o := range all {
			if at.Port() != 0 && at.Port() == o.at.Port() && (at.Addr() == o.at.Addr() || at.Addr().IsUnspecified() || o.at.Addr().IsUnspecified()) {
				bad(l.field, l.addr, o.field+" has this port already")
			}
		}
		all = append(all, listener{l.field, at})
	}
}

const labelMend = "use at most 63 letters, digits, '-', '_' and '.', with a letter or digit at each end"

func validLabels(in []string) error {
	labels, err := pairs(in)
	if err != nil {
		return err
	}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if len(validation.IsQualifiedName(k)) > 0 {
			return fmt.Errorf("%q is no key of a label: %s; a DNS name and '/' may stand before it", k, labelMend)
		}
		if len(validation.IsValidLabelValue(labels[k])) > 0 {
			return fmt.Errorf("%q is no value of a label: %s", labels[k], labelMend)
		}
	}
	return nil
}

// pairs reads key=value.
func pairs(in []string) (map[string]string, error) {
	out := map[string]string{}
	for _, s := range in {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("%q is no key=value", s)
		}
		out[k] = v
	}
	return out, nil
}

// resources reads quantities by name.
func resources(in []string) (corev1.ResourceList, error) {
	kv, err := pairs(in)
	if err != nil {
		return nil, err
	}
	out := corev1.ResourceList{}
	for k, v := range kv {
		q, err := resource.ParseQuantity(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is no quantity: give for example cpu=100m or memory=256Mi", k, v)
		}
		if q.Sign() < 0 {
			return nil, fmt.Errorf("%s: %q is less than nothing", k, v)
		}
		if !slices.Contains([]string{"cpu", "memory", "pods", "ephemeral-storage"}, k) {
			return nil, fmt.Errorf("%s: no server offers this: cpu, memory, pods and ephemeral-storage can be reserved", k)
		}
		out[corev1.ResourceName(k)] = q
	}
	return out, nil
}

// advertised is the address that peers reach this server at.
func (c Config) advertised() (netip.Addr, error) {
	if c.Advertise != "" {
		return netip.ParseAddr(c.Advertise)
	}
	if listen := netip.MustParseAddrPort(c.Listen); !listen.Addr().IsUnspecified() {
		return listen.Addr(), nil
	}
	return outboundAddr()
}

// outboundAddr asks the kernel which address it would send from; where it has no default route, the first global address
// of an interface that is up serves.
func outboundAddr() (netip.Addr, error) {
	if c, err := net.Dial("udp4", "192.0.2.1:9"); err == nil {
		defer c.Close()
		return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find this server's address: %w", err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			ip, _ := netip.AddrFromSlice(n.IP.To4())
			return ip, nil
		}
	}
	return netip.Addr{}, errors.New("this server has no IPv4 address but loopback: set advertise")
}
