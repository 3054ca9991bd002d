// Package images makes sure that an image that any server of the mesh built, loaded or pulled can run on all of them.
//
// The mesh remembers each reference that a person loaded or built as a small replicated record (reference, image ID). A
// host that needs the image asks its live peers who holds that ID, streams it from the first that does, and checks that
// what arrived has the ID that was promised. Only references that the mesh does not know are pulled from a registry.
package images
