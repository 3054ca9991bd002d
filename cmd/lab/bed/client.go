package bed

// ClientNamespace is the name of the network namespace of "client", for callers that dial from there themselves.
func (b *Bed) ClientNamespace() string { return b.client() }
