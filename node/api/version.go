package api

import (
	"strings"

	"k8s.io/apimachinery/pkg/version"
	"k8s.io/component-base/compatibility"
)

// release is a version that says what it is also in a binary that was linked without upstream's -X flags.
type release struct{ compatibility.EffectiveVersion }

// Info implements compatibility.EffectiveVersion.
func (r release) Info() *version.Info {
	info := *r.EffectiveVersion.Info()
	if !strings.HasPrefix(info.GitVersion, "v"+Version) {
		info.GitVersion = "v" + Version + "+orpheus"
	}
	major, rest, _ := strings.Cut(Version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	info.Major, info.Minor = major, minor
	return &info
}
