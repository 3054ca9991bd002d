package controllers

import (
	"context"
	"strings"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
)

// guardMark begins every refusal of the guard.
const guardMark = "guard: "

// Quiet has upstream tell as a detail, and in few words, what the guard refuses: that happens on every node but an object's home, and
// upstream would log an error with all that it knows of the object each time. Call it before anything of Kubernetes runs.
func Quiet() {
	for i, next := range utilruntime.ErrorHandlers {
		utilruntime.ErrorHandlers[i] = func(ctx context.Context, err error, msg string, kv ...any) {
			if err == nil {
				next(ctx, err, msg, kv...)
				return
			}
			if _, why, guarded := strings.Cut(err.Error(), guardMark); !guarded {
				next(ctx, err, msg, kv...)
			} else if i == 0 {
				klog.FromContext(ctx).V(2).Info("a controller has to wait", "why", why)
			}
		}
	}
}
