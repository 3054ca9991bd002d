package controllers

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// makeFence finishes the deletion of pods on fenced hosts. Nobody is left there to confirm it, and the controllers that
// asked for it (a StatefulSet above all) replace a pod only when its name is free. A pod that nobody asked to delete
// stays: a fence says that it runs no more, not that it was never wanted.
func makeFence(_ context.Context, s *stage) (func(context.Context), error) {
	pods, nodes := s.all.Core().V1().Pods(), s.all.Core().V1().Nodes()
	wake := make(chan struct{}, 1)
	ring := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	ending := func(o any) bool {
		p, ok := o.(*corev1.Pod)
		return ok && p.DeletionTimestamp != nil && fenced(nodes.Lister(), p.Spec.NodeName)
	}
	look := func(o any) {
		if ending(o) {
			ring()
		}
	}
	if _, err := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: look, UpdateFunc: func(_, o any) { look(o) }}); err != nil {
		return nil, err
	}
	sweep := func(ctx context.Context) (again bool) {
		all, _ := pods.Lister().List(labels.Everything()) // an in-memory list does not fail
		for _, p := range all {
			if !ending(p) || !s.config.Mine("core/pods", p.Namespace, p.Name) {
				continue
			}
			if err := confirm(ctx, s, p); err != nil {
				klog.FromContext(ctx).V(1).Info("pod on a fenced host is not deleted yet", "pod", klog.KObj(p), "err", err)
				again = true
			}
		}
		return again
	}
	return func(ctx context.Context) {
		if !cache.WaitForCacheSync(ctx.Done(), pods.Informer().HasSynced, nodes.Informer().HasSynced) {
			return
		}
		ring()
		retry := time.NewTimer(0)
		defer retry.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-wake:
			case <-retry.C:
			}
			if sweep(ctx) {
				retry.Reset(2 * time.Second)
			}
		}
	}, nil
}

func confirm(ctx context.Context, s *stage, p *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	zero := int64(0)
	err := s.client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &p.UID},
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
