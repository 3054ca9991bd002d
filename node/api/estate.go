package api

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	v1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/tools/record"
	"k8s.io/kubernetes/pkg/apis/core"
	corev1 "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/networking"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"
	"k8s.io/kubernetes/pkg/registry/core/service/portallocator"

	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/tenure"
)

const (
	serviceKind = "core/services"
	addressKind = "networking.k8s.io/ipaddresses"
)

// land is the estate of the API: Services, and the claims of their allocators. It writes below the registries, which would
// refuse to change an address and would release what the holder has. No user asks, so the store takes its writes for a machine's:
// they settle no conflict between people, and a person's edit at the same time stands.
type land struct {
	server *Server
	addrs  *ipallocator.MetaAllocator
	ports  *portClaims
	events record.EventRecorder
}

var _ estate = (*land)(nil)

// claimKey is where the claim of an asset lies.
func claimKey(a tenure.Asset) store.Key {
	if a.Addr.IsValid() {
		return store.Key{Kind: addressKind, Name: a.Addr.String()}
	}
	return portKey(int(a.Port))
}

// assetOf undoes claimKey.
func assetOf(k store.Key) (tenure.Asset, bool) {
	if k.Kind == addressKind {
		addr, err := netip.ParseAddr(k.Name)
		return tenure.Asset{Addr: addr}, err == nil
	}
	port, err := strconv.ParseInt(k.Name, 10, 32)
	return tenure.Asset{Port: int32(port)}, err == nil && port > 0
}

func (l *land) has(o *store.Object) []tenure.Claim {
	obj, err := l.server.kinds[serviceKind].Object(o)
	if err != nil {
		return nil
	}
	s, err := external(obj.DeepCopyObject())
	if err != nil {
		return nil
	}
	return tenure.Of(s)
}

func external(obj runtime.Object) (*v1.Service, error) {
	in, ok := obj.(*core.Service)
	if !ok {
		return nil, fmt.Errorf("%T is no Service", obj)
	}
	out := &v1.Service{}
	return out, corev1.Convert_core_Service_To_v1_Service(in, out, nil)
}

func (l *land) claimed(c tenure.Claim) bool {
	if !c.Asset.Addr.IsValid() {
		return l.ports.Has(int(c.Asset.Port))
	}
	ip := l.address(claimKey(c.Asset))
	return ip != nil && ip.Spec.ParentRef != nil && *ip.Spec.ParentRef == *parentOf(c)
}

func (l *land) given(a tenure.Asset) bool {
	if !a.Addr.IsValid() {
		return l.ports.Has(int(a.Port))
	}
	return allocated(l.address(claimKey(a)))
}

// allocated tells an allocator's claim from what somebody made by hand.
func allocated(ip *networking.IPAddress) bool {
	return ip != nil && ip.Labels[networkingv1.LabelManagedBy] == ipallocator.ControllerName
}

// address reads the claim of an address; nil where there is none.
func (l *land) address(k store.Key) *networking.IPAddress {
	o, _ := l.server.cfg.Store.Get(k)
	if o == nil {
		return nil
	}
	obj, err := l.server.kinds[addressKind].Object(o)
	if err != nil {
		return nil
	}
	ip, _ := obj.(*networking.IPAddress)
	return ip
}

func parentOf(c tenure.Claim) *networking.ParentReference {
	return &networking.ParentReference{Resource: "services", Namespace: c.Service.Namespace, Name: c.Service.Name}
}

func (l *land) claim(ctx context.Context, c tenure.Claim) error {
	if !c.Asset.Addr.IsValid() {
		if err := l.ports.Allocate(int(c.Asset.Port)); !errors.Is(err, portallocator.ErrAllocated) {
			return err
		}
		return nil
	}
	path := "/" + addressKind + "/" + c.Asset.Addr.String()
	err := l.server.kinds[addressKind].GuaranteedUpdate(ctx, path, &networking.IPAddress{}, false, nil,
		storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
			obj.(*networking.IPAddress).Spec.ParentRef = parentOf(c)
			return obj, nil
		}), nil)
	if !storage.IsNotFound(err) {
		return err
	}
	if err := l.addrs.AllocateService(bare(c), c.Asset.Addr.AsSlice()); !errors.Is(err, ipallocator.ErrAllocated) {
		return err
	}
	return nil
}

// bare is as much of a Service as an allocator reads.
func bare(c tenure.Claim) *core.Service {
	s := &core.Service{}
	s.Namespace, s.Name, s.UID = c.Service.Namespace, c.Service.Name, c.UID
	return s
}

func (l *land) all() (out []tenure.Asset) {
	for _, kind := range []string{addressKind, portKind} {
		all, _, _, err := l.server.cfg.Store.List(store.Selector{Kind: kind}, store.ListOptions{})
		if err != nil {
			return nil
		}
		for _, o := range all {
			if a, ok := assetOf(o.Key); ok && l.given(a) {
				out = append(out, a)
			}
		}
	}
	return out
}

func (l *land) release(_ context.Context, a tenure.Asset) error {
	if a.Addr.IsValid() {
		return l.addrs.Release(a.Addr.AsSlice())
	}
	return l.ports.Release(int(a.Port))
}

// errMoot says that a Service no longer has what it was to lose.
var errMoot = errors.New("the Service no longer has it")

func (l *land) renumber(ctx context.Context, c tenure.Claim) (to tenure.Asset, moved bool, err error) {
	if to, err = l.next(c); err != nil {
		return to, false, fmt.Errorf("find another %s: %w", c.Asset, err)
	}
	path := "/" + serviceKind + "/" + c.Service.String()
	err = l.server.kinds[serviceKind].GuaranteedUpdate(ctx, path, &core.Service{}, false, nil,
		storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
			s, err := external(obj)
			if err != nil {
				return nil, err
			}
			if s.UID != c.UID || !tenure.Replace(s, c.Asset, to) {
				return nil, errMoot
			}
			in := &core.Service{}
			return in, corev1.Convert_v1_Service_To_core_Service(s, in, nil)
		}), nil)
	if err == nil {
		return to, true, nil
	}
	undone := l.release(ctx, to)
	if errors.Is(err, errMoot) || storage.IsNotFound(err) {
		return to, false, undone
	}
	return to, false, errors.Join(err, undone)
}

func (l *land) next(c tenure.Claim) (tenure.Asset, error) {
	if !c.Asset.Addr.IsValid() {
		port, err := l.ports.AllocateNext()
		return tenure.Asset{Port: int32(port)}, err
	}
	ip, err := l.addrs.AllocateNextService(bare(c))
	addr, _ := netip.AddrFromSlice(ip)
	return tenure.Asset{Addr: addr.Unmap()}, err
}

func (l *land) tell(c tenure.Claim, kind, reason, message string) {
	l.events.Event(&v1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: c.Service.Namespace, Name: c.Service.Name, UID: c.UID}, kind, reason, message)
}
