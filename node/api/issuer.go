package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	apiserviceaccount "k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
)

const (
	askTimeout = 3 * time.Second
	maxAsked   = 16 // inquiries under way; more are refused at once
)

// hearsay checks the tokens of ServiceAccounts. A pod may speak before this node has heard of it: a token of another node's key
// whose pod or account is not here yet is shown to the node that issued it.
//
//	signature and time good? ─no─► refused
//	  └ account and pod here, as the token names them? ─yes─► decided here
//	      └ one of them known dead here? ─yes─► refused
//	          └ its issuer's word, at most 3 s
type hearsay struct {
	local     authenticator.Token
	audiences authenticator.Audiences
	dead      func(uid string) bool
	ask       func(ctx context.Context, keyID string, question []byte) ([]byte, error)
	slots     chan struct{}
}

// sightings are the objects that a token's check met, by UID. The check asks for objects only after it found signature and
// time good; who asked for none was refused for the token itself.
type sightings struct {
	asked bool
	found map[types.UID]bool
}

type sightingsKey struct{}

func (s *sightings) note(uid types.UID) {
	s.asked = true
	if uid != "" {
		s.found[uid] = true
	}
}

// review is what one node asks another about a token, and the answer.
type review struct {
	Token     string            `json:"token,omitempty"`
	Audiences []string          `json:"audiences,omitempty"` // of the request; in the answer those that both have
	User      *user.DefaultInfo `json:"user,omitempty"`
}

// AuthenticateToken implements authenticator.Token.
func (h *hearsay) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	seen := &sightings{found: map[types.UID]bool{}}
	resp, ok, err := h.local.AuthenticateToken(context.WithValue(ctx, sightingsKey{}, seen), token)
	if err == nil || !seen.asked || h.ask == nil {
		return resp, ok, err
	}
	c, readable := readClaims(token)
	if !readable || !h.open(c, seen) {
		return resp, ok, err
	}
	if resp, asked := h.inquire(ctx, c, token); asked == nil {
		return resp, true, nil
	}
	return resp, ok, err
}

// open tells that something that the token is bound to is neither here nor known dead.
func (h *hearsay) open(c claims, seen *sightings) bool {
	missing := false
	for _, uid := range c.bound() {
		if h.dead(string(uid)) {
			return false
		}
		missing = missing || !seen.found[uid]
	}
	return missing
}

func (h *hearsay) inquire(ctx context.Context, c claims, token string) (*authenticator.Response, error) {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		return nil, errors.New("too many tokens are asked about")
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	q := review{Token: token, Audiences: h.audiences}
	if wanted, ok := authenticator.AudiencesFrom(ctx); ok {
		q.Audiences = wanted
	}
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	if body, err = h.ask(ctx, c.key, body); err != nil {
		return nil, err
	}
	var a review
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("read the issuer's answer: %w", err)
	}
	if a.User == nil {
		return nil, errors.New("the issuer names nobody")
	}
	// It may speak for the account that the token names, and for nobody else.
	namespace, _, err := apiserviceaccount.SplitUsername(a.User.Name)
	if err != nil || a.User.Name != c.Subject {
		return nil, fmt.Errorf("the issuer answers for %q instead of %q", a.User.Name, c.Subject)
	}
	a.User.Groups = apiserviceaccount.MakeGroupNames(namespace)
	return &authenticator.Response{User: a.User, Audiences: a.Audiences}, nil
}

// ReviewToken answers another node's question about a token that this node issued, in the form that Config.AskIssuer carries.
// It asks nobody else.
func (s *Server) ReviewToken(ctx context.Context, question []byte) ([]byte, error) {
	var q review
	if err := json.Unmarshal(question, &q); err != nil {
		return nil, fmt.Errorf("read the question about a token: %w", err)
	}
	resp, ok, err := s.tokens.AuthenticateToken(authenticator.WithAudiences(ctx, q.Audiences), q.Token)
	if err != nil {
		return nil, fmt.Errorf("the token is not good at its issuer: %w", err)
	}
	if !ok {
		return nil, errors.New("the token is none of this mesh")
	}
	return json.Marshal(review{Audiences: resp.Audiences, User: &user.DefaultInfo{
		Name: resp.User.GetName(), UID: resp.User.GetUID(), Extra: resp.User.GetExtra()}})
}

// claims are the parts of a token that tell whom to ask.
type claims struct {
	key     string // of the issuer
	Subject string `json:"sub"`
	Bound   struct {
		Account reference  `json:"serviceaccount"`
		Pod     *reference `json:"pod"`
		Secret  *reference `json:"secret"`
	} `json:"kubernetes.io"`
}

type reference struct {
	UID types.UID `json:"uid"`
}

func (c claims) bound() []types.UID {
	uids := []types.UID{c.Bound.Account.UID}
	for _, r := range []*reference{c.Bound.Pod, c.Bound.Secret} {
		if r != nil {
			uids = append(uids, r.UID)
		}
	}
	return uids
}

// readClaims reads a token whose signature was checked before.
func readClaims(token string) (c claims, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, false
	}
	var header struct {
		Key string `json:"kid"`
	}
	for i, out := range []any{&header, &c} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(b, out) != nil {
			return c, false
		}
	}
	c.key = header.Key
	return c, c.key != ""
}
