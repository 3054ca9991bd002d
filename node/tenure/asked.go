package tenure

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fields are those of a Service's managed fields that name assets. The API server notes there what each writer wrote,
// before it gives out what is missing: a value that nobody owns was given out.
type fields struct {
	Spec struct {
		Address   *struct{} `json:"f:clusterIP"`
		Addresses *struct{} `json:"f:clusterIPs"`
		Health    *struct{} `json:"f:healthCheckNodePort"`
		Ports     map[string]struct {
			NodePort *struct{} `json:"f:nodePort"`
		} `json:"f:ports"`
	} `json:"f:spec"`
}

// asked are the assets that somebody wrote into the Service.
func asked(s *corev1.Service) map[Asset]bool {
	out := map[Asset]bool{}
	for i := range s.ManagedFields {
		var f fields
		if e := &s.ManagedFields[i]; !telling(e) || json.Unmarshal(e.FieldsV1.GetRawBytes(), &f) != nil {
			continue
		}
		if f.Spec.Address != nil || f.Spec.Addresses != nil {
			for _, ip := range s.Spec.ClusterIPs {
				if addr, err := netip.ParseAddr(ip); err == nil {
					out[Asset{Addr: addr}] = true
				}
			}
		}
		if f.Spec.Health != nil {
			out[Asset{Port: s.Spec.HealthCheckNodePort}] = true
		}
		for name, p := range f.Spec.Ports {
			if p.NodePort != nil {
				out[Asset{Port: nodePort(s, name)}] = true
			}
		}
	}
	return out
}

// nodePort finds a port of the Service by its name among managed fields: k:{"port":80,"protocol":"TCP"}.
func nodePort(s *corev1.Service, name string) int32 {
	var k struct {
		Port     int32           `json:"port"`
		Protocol corev1.Protocol `json:"protocol"`
	}
	if json.Unmarshal([]byte(strings.TrimPrefix(name, "k:")), &k) != nil {
		return 0
	}
	for _, p := range s.Spec.Ports {
		if p.Port == k.Port && p.Protocol == k.Protocol {
			return p.NodePort
		}
	}
	return 0
}

// telling sees whether an entry may name an asset, without reading it.
func telling(e *metav1.ManagedFieldsEntry) bool {
	if e.FieldsV1 == nil || e.Subresource != "" {
		return false
	}
	for _, f := range []string{`"f:clusterIP`, `"f:nodePort"`, `"f:healthCheckNodePort"`} {
		if bytes.Contains(e.FieldsV1.GetRawBytes(), []byte(f)) {
			return true
		}
	}
	return false
}

// Slim takes from a Service's managed fields those that the decision does not need.
func Slim(s *corev1.Service) {
	var kept []metav1.ManagedFieldsEntry
	for i := range s.ManagedFields {
		if e := &s.ManagedFields[i]; telling(e) {
			kept = append(kept, metav1.ManagedFieldsEntry{FieldsV1: e.FieldsV1})
		}
	}
	s.ManagedFields = kept
}
