package controllers

import (
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestNothingDiscoveredIsAnErrorAndNoEnd(t *testing.T) {
	for name, refusal := range map[string]error{"refused": errors.New("forbidden"), "empty": nil} {
		_, err := discovered(func() ([]*metav1.APIResourceList, error) { return nil, refusal })
		if err == nil || refusal != nil && !errors.Is(err, refusal) || !strings.Contains(err.Error(), "namespace") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatWasDiscoveredIsAskedOnceMoreOnlyLater(t *testing.T) {
	asked := 0
	discover, err := discovered(func() ([]*metav1.APIResourceList, error) {
		asked++
		return []*metav1.APIResourceList{{GroupVersion: "v1"}}, errors.New("one group is missing")
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{1, 2, 3} {
		if found, err := discover(); len(found) != 1 || err == nil || asked != want {
			t.Errorf("asked %d times, want %d: %v, %v", asked, want, found, err)
		}
	}
}
