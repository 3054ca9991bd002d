package api

import (
	"io"
	"net/http"
)

// customResources is where definitions of custom resources are listed.
const customResources = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// noCustomResources says that there are none. kubectl asks for them when it meets a kind that it does not know; a 404 there makes it
// complain about the question, and not about the kind that somebody mistyped.
func noCustomResources(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		http.Error(w, "custom resources are not served", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"kind":"CustomResourceDefinitionList","apiVersion":"apiextensions.k8s.io/v1","metadata":{},"items":[]}`)
}
