package replica

// KeepUIDs makes a Kind keep the UIDs that its writers bring, as the upstream suite expects of a backend.
func (k *Kind) KeepUIDs() { k.keepUIDs = true }

// Whole makes a Kind write objects in one part.
func (k *Kind) Whole() { k.hasStatus = false }
