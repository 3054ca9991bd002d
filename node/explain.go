package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/control"
	"github.com/orpheus-mesh/orpheus/node/outlook"
)

// Bounds of what a person asks the placement.
const (
	explainWithin  = 10 * time.Second
	forecastWithin = time.Minute
	nextHomes      = 3
)

var errStarting = errors.New("this server is starting and places no pods yet: ask again in a moment")

// Explain says where a pod is or would go, and why, as this server sees it.
func (s *server) Explain(ctx context.Context, namespace, name string) (control.Explanation, error) {
	if !s.ready.Load() {
		return control.Explanation{}, errStarting
	}
	ctx, cancel := context.WithTimeout(ctx, explainWithin)
	defer cancel()
	pod, err := s.admin.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return control.Explanation{}, fmt.Errorf("there is no pod %s in namespace %s (-n names another)", name, namespace)
	}
	if err != nil {
		return control.Explanation{}, fmt.Errorf("read pod %s/%s: %w", namespace, name, err)
	}
	e, err := s.binder.Explain(pod)
	if err != nil {
		return control.Explanation{}, err
	}
	out := outlook.Explain(pod, s.homeOf(namespace, name), e)
	if !out.Bound && out.Waits == "" {
		out.Waits = s.claims.lacks(pod)
	}
	if room, ok := s.binder.Room(pod); ok && out.Message != "" {
		out.Room = outlook.Room(pod, room)
	}
	flapping := s.absence.Flapping()
	for _, node := range slices.Sorted(maps.Keys(flapping)) {
		out.Notes = append(out.Notes, "server "+node+": "+flaps(flapping[node]))
	}
	return out, nil
}

// homeOf tells which server decides for a pod.
func (s *server) homeOf(namespace, name string) control.Home {
	root := s.sight.root(store.Key{Kind: "core/pods", Namespace: namespace, Name: name})
	order := s.mesh.Homes(root, 1+nextHomes)
	home := control.Home{Server: s.nameOf(string(order[0])), Root: root.Kind + " " + root.Namespace + "/" + root.Name}
	for _, id := range order[1:] {
		home.Next = append(home.Next, s.nameOf(string(id)))
	}
	for _, m := range s.mesh.Members() {
		if m.State == gossip.Alive {
			home.Alive++
		}
	}
	return home
}

// Forecast says where the pods of manifests would go. It writes nothing.
func (s *server) Forecast(ctx context.Context, r control.ForecastRequest) (control.Forecast, error) {
	if !s.ready.Load() {
		return control.Forecast{}, errStarting
	}
	ctx, cancel := context.WithTimeout(ctx, forecastWithin)
	defer cancel()
	return outlook.Forecast(ctx, s.admin, s.binder, r.Manifests, r.Namespace)
}
