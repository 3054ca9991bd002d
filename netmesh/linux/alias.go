package linux

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/orpheus-mesh/orpheus/netmesh"
)

// A pod's veth says in its alias whose it is, so that the next life of the daemon finds its pods in the kernel itself:
//
//	orpheus pod=UID addr=10.32.7.2 ports=tcp:*:8080:80,udp:192.0.2.1:53:53

const (
	aliasMark = "orpheus "
	maxAlias  = 255 // IFALIASZ without the end
)

// vethName names the host's end by the pod: 15 characters, the most that Linux takes.
func vethName(podUID string) string {
	sum := sha256.Sum256([]byte(podUID))
	return "orp" + hex.EncodeToString(sum[:6])
}

func encodeAlias(p netmesh.LocalPod) (string, error) {
	s := fmt.Sprintf("%spod=%s addr=%s", aliasMark, p.UID, p.Addr)
	for i, h := range p.Ports {
		ip := "*"
		if h.HostIP.IsValid() && !h.HostIP.IsUnspecified() {
			ip = h.HostIP.String()
		}
		sep := ","
		if i == 0 {
			sep = " ports="
		}
		s += fmt.Sprintf("%s%d:%s:%d:%d", sep, h.Protocol, ip, h.Port, h.Container)
	}
	if len(s) > maxAlias {
		return "", fmt.Errorf("pod %s has %d host ports: more than a link's alias can hold (%d characters)", p.UID, len(p.Ports), maxAlias)
	}
	return s, nil
}

func decodeAlias(s string) (netmesh.LocalPod, bool) {
	rest, ours := strings.CutPrefix(s, aliasMark)
	var p netmesh.LocalPod
	for _, word := range strings.Fields(rest) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "pod":
			p.UID = value
		case "addr":
			p.Addr, _ = netip.ParseAddr(value)
		case "ports":
			for _, one := range strings.Split(value, ",") {
				if h, ok := decodeHostPort(one); ok {
					p.Ports = append(p.Ports, h)
				}
			}
		}
	}
	return p, ours && p.UID != "" && p.Addr.Is4()
}

func decodeHostPort(s string) (netmesh.HostPort, bool) {
	f := strings.Split(s, ":")
	if len(f) != 4 {
		return netmesh.HostPort{}, false
	}
	proto, e1 := strconv.ParseUint(f[0], 10, 8)
	port, e2 := strconv.ParseUint(f[2], 10, 16)
	container, e3 := strconv.ParseUint(f[3], 10, 16)
	ip, _ := netip.ParseAddr(f[1]) // "*": the zero Addr
	return netmesh.HostPort{Protocol: netmesh.Protocol(proto), HostIP: ip, Port: uint16(port), Container: uint16(container)}, e1 == nil && e2 == nil && e3 == nil
}

// macOf derives a locally administered hardware address, so that neighbours need not be asked for theirs.
func macOf(role byte, a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return net.HardwareAddr{0x0e, role, b[0], b[1], b[2], b[3]}
}

// Roles of derived hardware addresses.
const (
	rolePod    = 0x50
	roleHost   = 0x48 // the host's end of a pod's veth
	roleTunnel = 0x58
)
