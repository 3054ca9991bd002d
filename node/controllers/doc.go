// Package controllers runs upstream's workload controllers, unmodified, on every node of the mesh at once. Each node
// reconciles the objects whose home it is, and only those: the informers of primary objects are views filtered by home,
// and the views are taken anew whenever the membership changes. Everything that such a controller could do wrong
// because it believes to be alone is caught here, at two doors: what it sees (view, lens) and what it may write (guard).
package controllers
