package figures

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
)

// objects are all of one kind as one host shows them, by namespace/name, without what is a host's own by design.
type objects map[string]map[string]any

// notCompared are kinds that each host keeps for itself.
var notCompared = map[string]string{
	"events":               "memory of one host",
	"events.events.k8s.io": "memory of one host",
	"componentstatuses":    "about the host that is asked",
}

// kinds are all that a host can list.
func kinds(d discovery.DiscoveryInterface) ([]schema.GroupVersionResource, error) {
	lists, err := d.ServerPreferredResources()
	if err != nil {
		return nil, fmt.Errorf("find out all kinds: %w", err)
	}
	var all []schema.GroupVersionResource
	for _, list := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list"}}, lists) {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, r := range list.APIResources {
			gvr := gv.WithResource(r.Name)
			if notCompared[gvr.GroupResource().String()] == "" {
				all = append(all, gvr)
			}
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].String() < all[j].String() })
	return all, nil
}

// views asks hosts for everything, and compares.
type views struct {
	hosts   []string
	clients map[string]dynamic.Interface
	kinds   []schema.GroupVersionResource
}

func (l *Lab) views(ctx context.Context) (*views, error) {
	v := &views{hosts: l.Hosts, clients: map[string]dynamic.Interface{}}
	for _, h := range l.Hosts {
		cfg, err := l.config(ctx, h)
		if err != nil {
			return nil, err
		}
		if v.clients[h], err = dynamic.NewForConfig(cfg); err != nil {
			return nil, err
		}
	}
	client, err := l.client(ctx, l.Hosts[0])
	if err != nil {
		return nil, err
	}
	v.kinds, err = kinds(client.Discovery())
	return v, err
}

// list takes one kind from all hosts at once.
func (v *views) list(ctx context.Context, kind schema.GroupVersionResource) (map[string]objects, error) {
	g, ctx := errgroup.WithContext(ctx)
	answers := make([]objects, len(v.hosts))
	for i, h := range v.hosts {
		g.Go(func() error {
			list, err := v.clients[h].Resource(kind).List(ctx, metav1.ListOptions{})
			if err != nil {
				return fmt.Errorf("list %s on %s: %w", kind.Resource, h, err)
			}
			answers[i] = stripped(kind.GroupResource(), list.Items)
			return nil
		})
	}
	err := g.Wait()
	all := map[string]objects{}
	for i, h := range v.hosts {
		all[h] = answers[i]
	}
	return all, err
}

// stripped takes away what says nothing about the object: resource versions count in each process for itself, and endpoint slices are made
// by every host, under names of its own.
func stripped(kind schema.GroupResource, items []unstructured.Unstructured) objects {
	out := objects{}
	for _, o := range items {
		unstructured.RemoveNestedField(o.Object, "metadata", "resourceVersion")
		if kind.Resource == "leases" && o.GetNamespace() == "kube-node-lease" {
			continue // each host derives them from what it sees
		}
		key := strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/")
		if kind.Resource == "endpointslices" {
			key = o.GetNamespace() + "/" + o.GetLabels()["kubernetes.io/service-name"]
			if key == "default/kubernetes" {
				continue // each host names its own API there
			}
			addEndpoints(out, key, o.Object)
			continue
		}
		out[key] = o.Object
	}
	return out
}

// addEndpoints collects the endpoints of a service over all its slices, in order.
func addEndpoints(out objects, key string, slice map[string]any) {
	all := out[key]
	if all == nil {
		all = map[string]any{"endpoints": []any{}}
	}
	list := all["endpoints"].([]any)
	endpoints, _, _ := unstructured.NestedSlice(slice, "endpoints")
	ports, _, _ := unstructured.NestedSlice(slice, "ports")
	sort.Slice(ports, func(i, j int) bool { return text(ports[i]) < text(ports[j]) })
	for _, e := range endpoints {
		list = append(list, map[string]any{"endpoint": e, "ports": ports})
	}
	sort.Slice(list, func(i, j int) bool { return text(list[i]) < text(list[j]) })
	all["endpoints"] = list
	out[key] = all
}

func text(v any) string {
	b, _ := json.Marshal(v) // it came as JSON
	return string(b)
}

// differences says where hosts show different things, each against the first; nil when they are equal.
func differences(kind string, hosts []string, all map[string]objects) (out []string) {
	first := hosts[0]
	for _, h := range hosts[1:] {
		a, b := all[first], all[h]
		keys := map[string]bool{}
		for k := range a {
			keys[k] = true
		}
		for k := range b {
			keys[k] = true
		}
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			switch {
			case a[k] == nil:
				out = append(out, fmt.Sprintf("%s %s is on %s, not on %s", kind, k, h, first))
			case b[k] == nil:
				out = append(out, fmt.Sprintf("%s %s is on %s, not on %s", kind, k, first, h))
			case !reflect.DeepEqual(a[k], b[k]):
				out = append(out, fmt.Sprintf("%s %s: %s on %s and %s", kind, k, difference("", a[k], b[k]), first, h))
			}
		}
	}
	return out
}

// difference is the first place at which two values differ, and what is there.
func difference(path string, a, b any) string {
	x, ok1 := a.(map[string]any)
	y, ok2 := b.(map[string]any)
	if ok1 && ok2 {
		both := maps.Clone(x)
		maps.Copy(both, y)
		for _, k := range slices.Sorted(maps.Keys(both)) {
			if !reflect.DeepEqual(x[k], y[k]) {
				return difference(path+"."+k, x[k], y[k])
			}
		}
	}
	p, ok1 := a.([]any)
	q, ok2 := b.([]any)
	if ok1 && ok2 && len(p) == len(q) {
		for i := range p {
			if !reflect.DeepEqual(p[i], q[i]) {
				return difference(fmt.Sprintf("%s[%d]", path, i), p[i], q[i])
			}
		}
	}
	return fmt.Sprintf("%s is %.80s | %.80s", strings.TrimPrefix(path, "."), text(a), text(b))
}
