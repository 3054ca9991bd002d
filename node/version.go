package node

// version is set by the linker.
var version = "dev"

// Version is the release of this binary.
func Version() string { return version }
