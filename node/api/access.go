package api

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/path"
	unionauthorizer "k8s.io/apiserver/pkg/authorization/union"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/informers"
	"k8s.io/kubernetes/pkg/serviceaccount"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"
)

// health are the paths that answer to anybody.
var health = []string{"/healthz", "/livez", "/readyz", "/version"}

// issuer is the name in the tokens of ServiceAccounts, the same on every node.
func (c *Config) issuer() string { return "https://kubernetes.default.svc." + c.Domain }

// authenticate lets in client certificates of the mesh's CA and tokens of ServiceAccounts; others see only health.
func (s *Server) authenticate(cp *genericapiserver.Config) error {
	ca, err := dynamiccertificates.NewStaticCAContent("mesh-ca", s.ca.pem)
	if err != nil {
		return fmt.Errorf("read the mesh's CA: %w", err)
	}
	cp.SecureServing.ClientCA = ca
	id, err := KeyID(&s.cfg.TokenKey.PublicKey)
	if err != nil {
		return err
	}
	keys := meshKeys{own: serviceaccount.PublicKey{KeyID: id, PublicKey: &s.cfg.TokenKey.PublicKey}, peers: s.cfg.TokenKeys}
	audiences := authenticator.Audiences{s.cfg.issuer()}
	s.tokens = serviceaccount.JWTTokenAuthenticator([]string{s.cfg.issuer()}, keys, audiences, serviceaccount.NewValidator(s.bindings))
	tokens := &hearsay{local: s.tokens, audiences: audiences, dead: s.cfg.Store.Tombstoned, slots: make(chan struct{}, maxAsked)}
	if s.cfg.AskIssuer != nil {
		tokens.ask = func(ctx context.Context, key string, question []byte) ([]byte, error) {
			if key == id {
				return nil, errors.New("this node issued it")
			}
			return s.cfg.AskIssuer(ctx, key, question)
		}
	}
	var open []apiserver.AnonymousAuthCondition
	for _, p := range health {
		open = append(open, apiserver.AnonymousAuthCondition{Path: p})
	}
	cp.Authentication.APIAudiences = audiences
	cp.Authentication.Authenticator = union.New(
		group.NewAuthenticatedGroupAdder(union.New(
			x509.NewDynamic(ca.VerifyOptions, x509.CommonNameUserConversion),
			bearertoken.New(tokens),
		)),
		anonymous.NewAuthenticator(open),
	)
	return nil
}

// authorize asks RBAC about everybody but system:masters.
func authorize(cp *genericapiserver.Config, inf informers.SharedInformerFactory) error {
	paths, err := path.NewAuthorizer(health)
	if err != nil {
		return err
	}
	rules := inf.Rbac().V1()
	roles := rbac.New(
		&rbac.RoleGetter{Lister: rules.Roles().Lister()},
		&rbac.RoleBindingLister{Lister: rules.RoleBindings().Lister()},
		&rbac.ClusterRoleGetter{Lister: rules.ClusterRoles().Lister()},
		&rbac.ClusterRoleBindingLister{Lister: rules.ClusterRoleBindings().Lister()},
	)
	var masters authorizer.Authorizer = authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup)
	cp.Authorization.Authorizer = unionauthorizer.New(masters, paths, roles)
	cp.RuleResolver = unionauthorizer.NewRuleResolvers(roles)
	return nil
}
