package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	v1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/component-helpers/auth/rbac/reconciliation"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
	"k8s.io/utils/ptr"
)

const (
	firstTry = 1500 * time.Millisecond // after which the server counts as ready, with or without its first objects
	retryMax = 30 * time.Second
	// parallel writes share the store's group commits.
	parallel = 24
)

// bootstrap sees to the objects that every mesh has. They have the same names everywhere, so the store makes them the
// same objects on every node. A node that can't write serves what it has: ready does not wait for more than a moment.
func (s *Server) bootstrap(ctx context.Context, ready func()) error {
	s.inf.WaitForCacheSync(ctx.Done())
	timer := time.AfterFunc(firstTry, ready)
	defer timer.Stop()
	s.until(ctx, "namespaces and the kubernetes Service", s.foundations)
	s.until(ctx, "roles", s.roles)
	ready()
	s.until(ctx, "priority classes", s.priorities)
	<-ctx.Done()
	return ctx.Err()
}

// until tries again, ever more slowly, until a step is done or ctx ends.
func (s *Server) until(ctx context.Context, what string, step func(context.Context) error) {
	for pause := 25 * time.Millisecond; ctx.Err() == nil; pause = min(pause*2, retryMax) {
		err := step(ctx)
		if err == nil {
			return
		}
		if pause > time.Second && ctx.Err() == nil {
			s.cfg.Log.Warn("the first objects are not complete yet", "what", what, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// here tells that an object is there, whoever made it.
func here(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func (s *Server) foundations(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, v1.NamespaceNodeLease} {
		g.Go(func() error {
			if _, err := s.client.CoreV1().Namespaces().Get(gctx, name, metav1.GetOptions{}); err == nil {
				return nil
			}
			_, err := s.client.CoreV1().Namespaces().Create(gctx, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
			return here(err)
		})
	}
	g.Go(func() error { return s.serviceCIDR(gctx) })
	if err := g.Wait(); err != nil {
		return err
	}
	if err := s.kubernetesService(ctx); err != nil {
		return fmt.Errorf("service kubernetes: %w", err)
	}
	if err := s.kubernetesEndpoints(ctx); err != nil {
		return fmt.Errorf("endpoints of service kubernetes: %w", err)
	}
	return nil
}

// apiService is the name of the Service, the EndpointSlice and the ServiceCIDR of the API itself.
const apiService = "kubernetes"

func (s *Server) serviceCIDR(ctx context.Context) error {
	c, err := s.client.NetworkingV1().ServiceCIDRs().Get(ctx, apiService, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		c, err = s.client.NetworkingV1().ServiceCIDRs().Create(ctx, &networkingv1.ServiceCIDR{
			ObjectMeta: metav1.ObjectMeta{Name: apiService},
			Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{s.cfg.Services.Masked().String()}},
		}, metav1.CreateOptions{})
	}
	if err != nil || len(c.Status.Conditions) > 0 {
		return here(err)
	}
	c.Status.Conditions = []metav1.Condition{{
		Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, LastTransitionTime: metav1.Now(), Reason: "ServiceCIDRReady",
		Message: "service addresses are claimed from it on every node",
	}}
	_, err = s.client.NetworkingV1().ServiceCIDRs().UpdateStatus(ctx, c, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) {
		return nil // another node said the same
	}
	return err
}

func (s *Server) kubernetesService(ctx context.Context) error {
	services := s.client.CoreV1().Services(metav1.NamespaceDefault)
	if _, err := services.Get(ctx, apiService, metav1.GetOptions{}); err == nil {
		return nil
	}
	port, err := s.port()
	if err != nil {
		return err
	}
	addr := s.cfg.apiAddr().String()
	_, err = services.Create(ctx, &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: apiService, Labels: map[string]string{"provider": apiService, "component": "apiserver"}},
		Spec: v1.ServiceSpec{
			ClusterIP: addr, ClusterIPs: []string{addr}, SessionAffinity: v1.ServiceAffinityNone, IPFamilies: []v1.IPFamily{v1.IPv4Protocol},
			Ports: []v1.ServicePort{{Name: "https", Port: 443, Protocol: v1.ProtocolTCP, TargetPort: intstr.FromInt32(port)}},
		},
	}, metav1.CreateOptions{})
	if here(err) == nil {
		return nil
	}
	// The claim of a Service that a crash kept from being born: nobody else may have the API's own address.
	if _, gone := services.Get(ctx, apiService, metav1.GetOptions{}); apierrors.IsNotFound(gone) && apierrors.IsInvalid(err) {
		if failed := s.client.NetworkingV1().IPAddresses().Delete(ctx, addr, metav1.DeleteOptions{}); !apierrors.IsNotFound(failed) {
			err = errors.Join(err, failed)
		}
	}
	return err
}

// kubernetesEndpoints points the Service at this node's own server: endpoint slices are Local, every node has its own.
func (s *Server) kubernetesEndpoints(ctx context.Context) error {
	port, err := s.port()
	if err != nil {
		return err
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: apiService, Labels: map[string]string{discoveryv1.LabelServiceName: apiService, discoveryv1.LabelManagedBy: "orpheus"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{s.cfg.Advertise.String()}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}, NodeName: &s.cfg.Node}},
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: &port, Protocol: ptr.To(v1.ProtocolTCP)}},
	}
	slices := s.client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault)
	_, err = slices.Create(ctx, slice, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	_, err = slices.Update(ctx, slice, metav1.UpdateOptions{})
	return err
}

// port is where this server really listens.
func (s *Server) port() (int32, error) {
	_, p, err := net.SplitHostPort(s.secure.Listener.Addr().String())
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(p, 10, 32)
	return int32(n), err
}

func (s *Server) priorities(ctx context.Context) error {
	for _, class := range schedulingv1.SystemPriorityClasses() {
		if _, err := s.client.SchedulingV1().PriorityClasses().Get(ctx, class.Name, metav1.GetOptions{}); err == nil {
			continue
		}
		if _, err := s.client.SchedulingV1().PriorityClasses().Create(ctx, class, metav1.CreateOptions{}); here(err) != nil {
			return fmt.Errorf("%s: %w", class.Name, err)
		}
	}
	return nil
}

// roles brings upstream's RBAC policy up to date: what is missing is added, what people added stays.
func (s *Server) roles(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, role := range append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...) {
		s.reconcileRole(ctx, g, reconciliation.ClusterRoleRuleOwner{ClusterRole: &role}, reconciliation.ClusterRoleModifier{Client: s.client.RbacV1().ClusterRoles()})
	}
	for _, binding := range append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...) {
		s.reconcileBinding(ctx, g, reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: &binding}, reconciliation.ClusterRoleBindingClientAdapter{Client: s.client.RbacV1().ClusterRoleBindings()})
	}
	namespaces := s.client.CoreV1().Namespaces()
	for _, roles := range bootstrappolicy.NamespaceRoles() {
		for _, role := range roles {
			s.reconcileRole(ctx, g, reconciliation.RoleRuleOwner{Role: &role}, reconciliation.RoleModifier{Client: s.client.RbacV1(), NamespaceClient: namespaces})
		}
	}
	for _, bindings := range bootstrappolicy.NamespaceRoleBindings() {
		for _, binding := range bindings {
			s.reconcileBinding(ctx, g, reconciliation.RoleBindingAdapter{RoleBinding: &binding}, reconciliation.RoleBindingClientAdapter{Client: s.client.RbacV1(), NamespaceClient: namespaces})
		}
	}
	return g.Wait()
}

func (s *Server) reconcileRole(ctx context.Context, g *errgroup.Group, role reconciliation.RuleOwner, client reconciliation.RuleOwnerModifier) {
	g.Go(func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		o := reconciliation.ReconcileRoleOptions{Role: role, Client: client, Confirm: true}
		if _, err := o.Run(); here(err) != nil {
			return fmt.Errorf("role %s: %w", role.GetName(), err)
		}
		return nil
	})
}

func (s *Server) reconcileBinding(ctx context.Context, g *errgroup.Group, binding reconciliation.RoleBinding, client reconciliation.RoleBindingModifier) {
	g.Go(func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		o := reconciliation.ReconcileRoleBindingOptions{RoleBinding: binding, Client: client, Confirm: true}
		if _, err := o.Run(); here(err) != nil {
			return fmt.Errorf("role binding %s: %w", binding.GetName(), err)
		}
		return nil
	})
}
