package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/orpheus-mesh/orpheus/gossip"
)

// admitProtocol asks a host whether it takes a pod, before the pod's home writes the binding.
const admitProtocol = "/orpheus/admit/1"

// admission is a host's answer: it admits by its true capacity at that moment, whatever the home believed.
type admission struct {
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"`
}

// serveAdmission answers the homes of other servers for this host.
func (s *server) serveAdmission() {
	s.mesh.Serve(admitProtocol, func(_ context.Context, _ gossip.ID, req []byte) ([]byte, error) {
		pod := &corev1.Pod{}
		if err := pod.Unmarshal(req); err != nil {
			return nil, fmt.Errorf("read the pod to admit: %w", err)
		}
		return json.Marshal(s.admitHere(pod))
	})
}

func (s *server) admitHere(pod *corev1.Pod) admission {
	ok, _, reason := s.agent.Admit(pod)
	return admission{ok, reason}
}

// admit asks the host of a node.
func (s *server) admit(ctx context.Context, node string, pod *corev1.Pod) (bool, string, error) {
	if node == s.cfg.Name {
		a := s.admitHere(pod)
		return a.OK, a.Reason, nil
	}
	card, ok := s.roster.ByName(node)
	if !ok {
		return false, "", errors.New("no server of the mesh is called " + node)
	}
	req, err := pod.Marshal()
	if err != nil {
		return false, "", err
	}
	reply, err := s.mesh.Call(ctx, card.ID, admitProtocol, req)
	if err != nil {
		return false, "", fmt.Errorf("ask %s to admit the pod: %w", node, err)
	}
	var a admission
	err = json.Unmarshal(reply, &a)
	return a.OK, a.Reason, err
}
