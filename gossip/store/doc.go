// Package store is the replicated store of Orpheus: every node holds every object, any node may write, and replicas that
// met the same records show the same objects, in whatever order the records came.
//
// An object is named by a Key and has three parts that never mix (DESIGN section 3): the Intent, a multi-value register
// whose concurrent human edits survive as siblings; the Status, written by the object's home; and the Observation, written
// by the one node that it is about. Status and Observation are last-writer-wins registers tied to the intent's UID: they
// die with it and need no tombstones of their own.
//
// The core is sans-IO: Step(now, event) yields effects. Store drives it with a real clock, a bbolt file and the mesh.
package store
