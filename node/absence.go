package node

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/node/absence"
	"github.com/orpheus-mesh/orpheus/node/control"
	"github.com/orpheus-mesh/orpheus/placement"
)

// absenceProtocol asks a server which others it saw come and go.
const absenceProtocol = "/orpheus/absence/1"

func (s *server) newAbsence() *absence.Record {
	changed, _ := s.mesh.Watch()
	s.mesh.Serve(absenceProtocol, func(context.Context, gossip.ID, []byte) ([]byte, error) { return json.Marshal(s.absence.Memory()) })
	return absence.New(absence.Config{Members: s.mesh.Members, Changed: changed, Ask: s.askAbsence, Tell: s.tellAbsence, Log: s.log.With("room", "absence"),
		Doubt: func() bool { hold, _ := s.mesh.Hold(); return hold || s.mesh.Slow() }})
}

func (s *server) askAbsence(ctx context.Context, id gossip.ID) (told map[string]placement.Flaps, err error) {
	if id == s.mesh.Self().ID {
		return nil, nil
	}
	reply, err := s.mesh.Call(ctx, id, absenceProtocol, nil)
	if err != nil {
		return nil, err
	}
	return told, json.Unmarshal(reply, &told)
}

// remember keeps the record of absences, and tells of them, and of edits in contention, in events.
func (s *server) remember(ctx context.Context) error {
	events := record.NewBroadcaster(record.WithContext(ctx))
	defer events.Shutdown()
	events.StartRecordingToSink(&typedcore.EventSinkImpl{Interface: s.admin.CoreV1().Events("")})
	s.recorder = events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "orpheus", Host: s.cfg.Name})
	edited := &contention{siblings: s.mesh.Store().Siblings, mine: s.sight.mine, nameOf: s.nameOf, tell: s.tellContention}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.absence.Run(ctx) })
	g.Go(func() error { return edited.run(ctx) })
	return g.Wait()
}

// tellAbsence writes a line in the log; the event is the Node's home's to write. It is called by absence.Run alone.
func (s *server) tellAbsence(server, reason, message string) {
	s.log.Info("a server's absences", "server", server, "reason", reason, "message", message)
	if !s.sight.mine("core/nodes", "", server) {
		return
	}
	kind := corev1.EventTypeNormal
	if reason == absence.Flapping || reason == absence.Delayed {
		kind = corev1.EventTypeWarning
	}
	s.recorder.Event(&corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: server, UID: types.UID(server)}, kind, reason, message)
}

// unsteady are the servers that are a last resort for a while, and those that are given up later than others.
func (s *server) unsteady() (out []control.Problem) {
	flapping := s.absence.Flapping()
	for _, name := range slices.Sorted(maps.Keys(flapping)) {
		out = append(out, control.Problem{What: "server " + name, Why: flaps(flapping[name]),
			Mend: "look for what ends it again and again: power, link, memory; once it stays it is used again by itself"})
	}
	for _, storm := range s.absence.Storms() {
		out = append(out, control.Problem{What: storm.Domain,
			Why: fmt.Sprintf("%d of its %d servers were lost at once, so they are given up one after the other; the pods of %s are not replaced yet, the next are at %s",
				storm.Lost, storm.Size, strings.Join(storm.Waiting, ", "), storm.Next.Format(time.TimeOnly)),
			Mend: "bring them back, or let it go on: it ends by itself"})
	}
	return out
}

func flaps(until time.Time) string {
	return "it was lost and came back too often lately, so until " + until.Format(time.TimeOnly) + " it gets new pods only where nothing else can take them"
}
