package placement

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

const mostAmount = 1 << 60

// Validate says everything that is wrong with a View, nil when nothing is; the text does not depend on the order of its
// slices. Place does not fail on such a View: it leaves out the hosts and pods that are at fault and says so.
func Validate(v View) error {
	var found []error
	ids := make([]string, 0, len(v.Hosts))
	for i := range v.Hosts {
		h := &v.Hosts[i]
		ids = append(ids, h.ID)
		if err := h.validate(); err != nil {
			found = append(found, fmt.Errorf("host %q: %w", h.ID, err))
		}
	}
	uids := make([]string, 0, len(v.Pods))
	for i := range v.Pods {
		p := &v.Pods[i]
		uids = append(uids, p.UID)
		if err := firstError(p.UID, p.validate(), validLabels(p.Labels)); err != nil {
			found = append(found, fmt.Errorf("pod %q: %w", p.UID, err))
		}
	}
	for _, id := range twice(ids) {
		found = append(found, fmt.Errorf("host %q: its ID is there twice", id))
	}
	for _, uid := range twice(uids) {
		found = append(found, fmt.Errorf("pod %q: its UID is there twice", uid))
	}
	slices.SortFunc(found, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return errors.Join(found...)
}

// twice returns the strings that occur more than once, sorted, each once.
func twice(s []string) []string {
	slices.Sort(s)
	var out []string
	for i := 1; i < len(s); i++ {
		if s[i] == s[i-1] && (len(out) == 0 || out[len(out)-1] != s[i]) {
			out = append(out, s[i])
		}
	}
	return out
}

func (h *Host) validate() error {
	if h.ID == "" {
		return errors.New("no ID")
	}
	if err := h.Allocatable.validate(); err != nil {
		return fmt.Errorf("allocatable: %w", err)
	}
	if err := validLabels(h.Labels); err != nil {
		return err
	}
	for _, t := range h.Taints {
		if t.Effect > NoExecute {
			return fmt.Errorf("taint %q: unknown effect %d", t.Key, t.Effect)
		}
	}
	return nil
}

func (r *Resources) validate() error {
	for _, a := range [...]Amount{{"cpu", r.CPU}, {"memory", r.Memory}, {"ephemeral-storage", r.Disk}, {"pods", r.Pods}} {
		if a.Value < 0 || a.Value > mostAmount {
			return fmt.Errorf("%s %d is not between 0 and 2^60", a.Name, a.Value)
		}
	}
	names := make([]string, 0, len(r.Extended))
	for _, a := range r.Extended {
		names = append(names, a.Name)
		if a.Value < 0 || a.Value > mostAmount {
			return fmt.Errorf("%s %d is not between 0 and 2^60", a.Name, a.Value)
		}
	}
	if t := twice(names); t != nil {
		return fmt.Errorf("resource %q is there twice", t[0])
	}
	return nil
}

func validLabels(ls []Label) error {
	keys := make([]string, 0, len(ls))
	for _, l := range ls {
		keys = append(keys, l.Key)
	}
	if t := twice(keys); t != nil {
		return fmt.Errorf("label %q is there twice", t[0])
	}
	return nil
}

var errNoUID = errors.New("no UID")

// validate judges what does not differ between pods with equal demands.
func (p *Pod) validate() error {
	if err := p.Requests.validate(); err != nil {
		return fmt.Errorf("requests: %w", err)
	}
	if err := p.validNodeTerms(); err != nil {
		return err
	}
	if err := p.validPodTerms(); err != nil {
		return err
	}
	for _, t := range p.Tolerations {
		if !t.AnyEffect && t.Effect > NoExecute {
			return fmt.Errorf("toleration of %q: unknown effect %d", t.Key, t.Effect)
		}
	}
	for _, h := range p.Ports {
		if err := h.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (h *HostPort) validate() error {
	if h.Port < 1 || h.Port > 65535 {
		return fmt.Errorf("host port %d is not between 1 and 65535", h.Port)
	}
	return nil
}

func (p *Pod) validNodeTerms() error {
	for i := range p.Required {
		if err := p.Required[i].validate(); err != nil {
			return fmt.Errorf("required node affinity: %w", err)
		}
	}
	for i := range p.Preferred {
		if err := p.Preferred[i].validate(); err != nil {
			return fmt.Errorf("preferred node affinity: %w", err)
		}
		if err := validWeight(p.Preferred[i].Weight); err != nil {
			return fmt.Errorf("preferred node affinity: %w", err)
		}
	}
	return nil
}

func (t *Term) validate() error {
	for i := range t.Fields {
		if t.Fields[i].Key != "metadata.name" {
			return fmt.Errorf("field %q: only metadata.name can be matched", t.Fields[i].Key)
		}
	}
	return errors.Join(validMatch(t.Fields), validMatch(t.Labels))
}

func validMatch(rs []Requirement) error {
	for i := range rs {
		switch r := &rs[i]; {
		case r.Key == "":
			return errors.New("requirement without a key")
		case r.Op > Lt:
			return fmt.Errorf("requirement on %q: unknown operator %d", r.Key, r.Op)
		case (r.Op == In || r.Op == NotIn) && len(r.Values) == 0:
			return fmt.Errorf("requirement on %q: no values", r.Key)
		case (r.Op == Gt || r.Op == Lt) && len(r.Values) != 1:
			return fmt.Errorf("requirement on %q: Gt and Lt take one value", r.Key)
		}
	}
	return nil
}

func validWeight(w int64) error {
	if w < 1 || w > 100 {
		return fmt.Errorf("weight %d is not between 1 and 100", w)
	}
	return nil
}

func (p *Pod) validPodTerms() error {
	for kind, terms := range [...][]PodTerm{p.Affinity, p.AntiAffinity, p.PrefersNear, p.PrefersApart} {
		for i := range terms {
			t := &terms[i]
			if t.Topology == "" {
				return errors.New("pod affinity without a topology key")
			}
			if err := validMatch(t.Match); err != nil {
				return fmt.Errorf("pod affinity: %w", err)
			}
			if kind < 2 {
				continue
			}
			if err := validWeight(t.Weight); err != nil {
				return fmt.Errorf("preferred pod affinity: %w", err)
			}
		}
	}
	for i := range p.Spread {
		switch s := &p.Spread[i]; {
		case s.Topology == "":
			return errors.New("topology spread without a topology key")
		case s.MaxSkew < 1:
			return fmt.Errorf("topology spread over %s: maxSkew %d is below 1", s.Topology, s.MaxSkew)
		case s.MinDomains < 0:
			return fmt.Errorf("topology spread over %s: minDomains %d is negative", s.Topology, s.MinDomains)
		}
		if err := validMatch(p.Spread[i].Match); err != nil {
			return fmt.Errorf("topology spread: %w", err)
		}
	}
	return nil
}
