package gossip

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// Why a token does not admit. Join's errors wrap one of them where a caller may decide by it.
var (
	ErrTokenInvalid = errors.New("the token is not valid: copy it whole, or make a new one with `orpheus token create`")
	ErrTokenExpired = errors.New("the token has expired: make a new one with `orpheus token create`")
	ErrTokenUsed    = errors.New("the token was used already: make a new one with `orpheus token create`")
	ErrNameTaken    = errors.New("another live member has this name: give this server another (--name; the default is its host name) or make the other one leave")
	ErrUnreachable  = errors.New("no member of the mesh could be reached: check the network and that UDP and TCP port 7946 are open")
	ErrWrongMesh    = errors.New("the server that answered is not a member of the token's mesh")
)

const (
	tokenPrefix = "orph1."
)

// token is what a new server needs to find the mesh, to know it when it sees it, and to be let in once.
//
// Encoding: mesh ID 16 B, authority's fingerprint 32 B, secret 16 B, expiry 8 B (seconds since 1970), issuer and addresses
// each with a length byte or uvarint before, CRC-32 of all 4 B; base64url behind the prefix.
type token struct {
	mesh      [16]byte
	authority [32]byte
	secret    [16]byte
	expiry    time.Time
	issuer    peer.ID
	addrs     []ma.Multiaddr
}

func newToken(k Keys, issuer peer.ID, addrs []ma.Multiaddr, expiry time.Time) (token, error) {
	ca, err := k.authority()
	if err != nil {
		return token{}, err
	}
	t := token{authority: fingerprint(ca), expiry: expiry, issuer: issuer, addrs: addrs[:min(len(addrs), maxTokenAddrs)]}
	if _, err := hex.Decode(t.mesh[:], []byte(k.MeshID)); err != nil {
		return token{}, err
	}
	if _, err := rand.Read(t.secret[:]); err != nil {
		return token{}, err
	}
	return t, nil
}

func (t token) String() string {
	b := append([]byte(nil), t.mesh[:]...)
	b = append(b, t.authority[:]...)
	b = append(b, t.secret[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(t.expiry.Unix()))
	b = appendBytes(b, []byte(t.issuer))
	b = append(b, byte(len(t.addrs)))
	for _, a := range t.addrs {
		b = appendBytes(b, a.Bytes())
	}
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

func appendBytes(b, field []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(field))), field...)
}

func parseToken(s string) (token, error) {
	s = strings.TrimSpace(s)
	body, ok := strings.CutPrefix(s, tokenPrefix)
	if !ok || len(s) > maxTokenText {
		return token{}, fmt.Errorf("%w (it does not begin with %q)", ErrTokenInvalid, tokenPrefix)
	}
	b, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil || len(b) < 4 {
		return token{}, fmt.Errorf("%w (it is cut off or mistyped)", ErrTokenInvalid)
	}
	b, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.ChecksumIEEE(b) != sum {
		return token{}, fmt.Errorf("%w (it is cut off or mistyped)", ErrTokenInvalid)
	}
	t, err := decodeToken(b)
	if err != nil {
		return token{}, fmt.Errorf("%w (%w)", ErrTokenInvalid, err)
	}
	return t, nil
}

func decodeToken(b []byte) (t token, err error) {
	r := fieldReader{b: b}
	copy(t.mesh[:], r.next(16))
	copy(t.authority[:], r.next(32))
	copy(t.secret[:], r.next(16))
	if e := r.next(8); e != nil {
		t.expiry = time.Unix(int64(binary.BigEndian.Uint64(e)), 0)
	}
	if t.issuer, err = peer.IDFromBytes(r.bytes()); err != nil {
		return token{}, errors.New("its issuer is unreadable")
	}
	count := r.next(1)
	if len(count) == 0 || count[0] > maxTokenAddrs {
		return token{}, errors.New("its addresses are unreadable")
	}
	for range count[0] {
		a, err := ma.NewMultiaddrBytes(r.bytes())
		if err != nil {
			return token{}, errors.New("its addresses are unreadable")
		}
		t.addrs = append(t.addrs, a)
	}
	if r.short || len(r.b) != 0 {
		return token{}, errors.New("its length is wrong")
	}
	return t, nil
}

// fieldReader cuts fields off b and remembers when there was too little.
type fieldReader struct {
	b     []byte
	short bool
}

func (r *fieldReader) next(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.short = true
		return nil
	}
	f := r.b[:n]
	r.b = r.b[n:]
	return f
}

func (r *fieldReader) bytes() []byte {
	n, width := binary.Uvarint(r.b)
	if width <= 0 || n > uint64(len(r.b)) {
		r.short = true
		return nil
	}
	r.next(width)
	return r.next(int(n))
}

func (t token) meshID() string { return hex.EncodeToString(t.mesh[:]) }

// tokenName is the name of a token's record: a hash, so that a copy of the store lets nobody in.
func tokenName(secret []byte) string {
	sum := sha256.Sum256(append([]byte("orpheus token 1\x00"), secret...))
	return hex.EncodeToString(sum[:])
}
