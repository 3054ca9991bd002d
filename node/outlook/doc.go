// Package outlook says in words where pods are or would go: it turns placement's explanations into what people and
// programs read, and manifests into the pods that they would bring, so that the binder can be asked about them before
// anything is applied. It reads the API, writes nothing, and decides nothing by itself.
package outlook
