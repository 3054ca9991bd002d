package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

func TestWhatTheGuardRefusesIsNoErrorToAnOperator(t *testing.T) {
	before := slices.Clone(utilruntime.ErrorHandlers)
	defer func() { utilruntime.ErrorHandlers = before }()
	var told []error
	utilruntime.ErrorHandlers = []utilruntime.ErrorHandler{func(_ context.Context, err error, _ string, _ ...any) { told = append(told, err) }}
	Quiet()
	other := errors.New("disk on fire")
	refusal := refuse(http.StatusConflict, metav1.StatusReasonConflict, "pod default/p is collected at its own home")
	utilruntime.HandleErrorWithContext(t.Context(), fmt.Errorf("error syncing item: %v", refusal.Message), "x")
	utilruntime.HandleErrorWithContext(t.Context(), other, "x")
	utilruntime.HandleErrorWithContext(t.Context(), nil, "x")
	if !slices.Equal(told, []error{other, nil}) {
		t.Errorf("told: %v", told)
	}
}
