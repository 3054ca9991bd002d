package controllers

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	// forsakenFor is how long a host must have been given up before its pods go: as long as upstream's pod collector waits.
	forsakenFor = 40 * time.Second
	// forsakenEvery is the time between looks at all pods for such hosts.
	forsakenEvery = 10 * time.Second
)

// fence finishes what nobody is left to finish:
//
//   - the deletion of pods on fenced hosts. The controllers that asked for it (a StatefulSet above all) replace a pod only when its
//     name is free. A pod that nobody asked to delete stays: a fence says that it runs no more, not that it was never wanted.
//   - pods of hosts that a person gave up: evicted from the mesh, or the Node deleted while no server lives behind it. Absence alone
//     is never a reason. What their disks hold stays with the volumes (see orpheus fence).
type fence struct {
	*stage
	pods     corelisters.PodLister
	nodes    corelisters.NodeLister
	forsaken map[string]time.Time // hosts, since when
}

func makeFence(_ context.Context, s *stage) (func(context.Context), error) {
	pods, nodes := s.all.Core().V1().Pods(), s.all.Core().V1().Nodes()
	f := &fence{stage: s, pods: pods.Lister(), nodes: nodes.Lister(), forsaken: map[string]time.Time{}}
	wake := make(chan struct{}, 1)
	ring := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	look := func(o any) {
		if p, ok := o.(*corev1.Pod); ok && f.ending(p) {
			ring()
		}
	}
	if _, err := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: look, UpdateFunc: func(_, o any) { look(o) }}); err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		if !cache.WaitForCacheSync(ctx.Done(), pods.Informer().HasSynced, nodes.Informer().HasSynced) {
			return
		}
		ring()
		retry, rounds := time.NewTimer(0), time.NewTicker(forsakenEvery)
		defer retry.Stop()
		defer rounds.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-wake:
			case <-retry.C:
			case <-rounds.C:
			}
			if f.sweep(ctx, time.Now()) {
				retry.Reset(2 * time.Second)
			}
		}
	}, nil
}

func (f *fence) sweep(ctx context.Context, now time.Time) (again bool) {
	all, _ := f.pods.List(labels.Everything()) // an in-memory list does not fail
	f.judge(all, now)
	for _, p := range all {
		if !f.ending(p) && !f.over(p, now) || !f.config.Mine("core/pods", p.Namespace, p.Name) {
			continue
		}
		if err := f.confirm(ctx, p); err != nil {
			klog.FromContext(ctx).V(1).Info("pod of a lost host is not deleted yet", "pod", klog.KObj(p), "err", err)
			again = true
		}
	}
	return again
}

// ending tells that a pod's deletion waits for a host that was fenced.
func (f *fence) ending(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil && fenced(f.nodes, p.Spec.NodeName)
}

// over tells that a pod's host has been given up for long enough.
func (f *fence) over(p *corev1.Pod, now time.Time) bool {
	since, is := f.forsaken[p.Spec.NodeName]
	return is && now.Sub(since) >= forsakenFor
}

// judge notes the hosts of pods that are given up, and forgets those that are not or no longer. In doubt nobody is.
func (f *fence) judge(all []*corev1.Pod, now time.Time) {
	calm, _ := f.config.calm()
	hosts := map[string]bool{}
	for _, p := range all {
		if p.Spec.NodeName != "" {
			hosts[p.Spec.NodeName] = true
		}
	}
	for host := range hosts {
		if _, noted := f.forsaken[host]; !noted && calm && f.givenUp(host) {
			f.forsaken[host] = now
		}
	}
	for host := range f.forsaken {
		if !calm || !hosts[host] || !f.givenUp(host) {
			delete(f.forsaken, host)
		}
	}
}

func (f *fence) givenUp(host string) bool {
	known, evicted := f.config.Member(host)
	if evicted {
		return true
	}
	_, err := f.nodes.Get(host)
	return apierrors.IsNotFound(err) && (!known || f.config.HostState(host) == Failed)
}

func (f *fence) confirm(ctx context.Context, p *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	zero := int64(0)
	err := f.client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &p.UID},
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
