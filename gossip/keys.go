package gossip

// Keys are the secrets that every admitted member holds; they reach a new one over its mutually authenticated join and are
// kept in a file of mode 0600 beside the database, never in it.
type Keys struct {
	MeshID  string   `json:"meshID"`
	CACert  []byte   `json:"caCert"`  // PEM
	CAKey   []byte   `json:"caKey"`   // PEM, ECDSA P-256
	Gossip  [][]byte `json:"gossip"`  // 32 B each; the first encrypts, all decrypt
	Secrets [][]byte `json:"secrets"` // 32 B key-encryption keys for Secrets at rest; the first encrypts, all decrypt
}
