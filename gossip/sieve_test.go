package gossip

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"io"
	"testing"
)

var sieveKeys = [][]byte{bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)}

func sealed(t testing.TB, key []byte, version byte, message []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := make([]byte, gcm.NonceSize())
	return gcm.Seal(append([]byte{version}, nonce...), nonce, message, nil)
}

func TestWhatMemberlistGetsToRead(t *testing.T) {
	user, squeezed := ml(mlUser, []byte("x")), ml(mlCompressed, []byte("x"))
	for name, c := range map[string]struct {
		packet []byte
		want   error
	}{
		"a message":                        {sealed(t, sieveKeys[0], 1, user), nil},
		"under the second key":             {sealed(t, sieveKeys[1], 1, user), nil},
		"with a checksum":                  {sealed(t, sieveKeys[0], 1, summed(user)), nil},
		"a bundle":                         {sealed(t, sieveKeys[0], 1, bundled(user, user)), nil},
		"a bundle with a checksum":         {sealed(t, sieveKeys[0], 1, summed(bundled(user, user))), nil},
		"nothing":                          {nil, errNoKey},
		"one byte":                         {[]byte{1}, errNoKey},
		"in the clear":                     {user, errNoKey},
		"under another key":                {sealed(t, make([]byte, 32), 1, user), errNoKey},
		"another version":                  {sealed(t, sieveKeys[0], 0, user), errVersion},
		"compressed":                       {sealed(t, sieveKeys[0], 1, squeezed), errCompressed},
		"compressed, the second key":       {sealed(t, sieveKeys[1], 1, squeezed), errCompressed},
		"compressed, with a checksum":      {sealed(t, sieveKeys[0], 1, summed(squeezed)), errCompressed},
		"compressed, the last of a bundle": {sealed(t, sieveKeys[0], 1, bundled(user, user, squeezed)), errCompressed},
		"a bundle in a bundle":             {sealed(t, sieveKeys[0], 1, bundled(user, bundled(user))), errCompressed},
		"a bundle of nothing":              {sealed(t, sieveKeys[0], 1, []byte{mlCompound}), errBundle},
		"a bundle without lengths":         {sealed(t, sieveKeys[0], 1, []byte{mlCompound, 2, 0, 1}), errBundle},
		"a bundle cut short":               {sealed(t, sieveKeys[0], 1, bundled(user, user)[:9]), errBundle},
	} {
		if err := sift(sieveKeys, c.packet); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestHowAStreamOfSerfsBegins(t *testing.T) {
	stream := func(kind byte, b []byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(b))), b...)
	}
	whole := stream(mlSealed, sealed(t, sieveKeys[0], 1, []byte("\x06 state")))
	for name, c := range map[string]struct {
		sent []byte
		want error
	}{
		"as ours":         {whole, nil},
		"not at all":      {nil, io.EOF},
		"and ends":        {whole[:4], io.ErrUnexpectedEOF},
		"in the clear":    {stream(6, whole), errStream},
		"empty":           {stream(mlSealed, sealed(t, sieveKeys[0], 1, nil)), errStream},
		"another version": {stream(mlSealed, sealed(t, sieveKeys[0], 0, []byte("\x06 state"))), errStream},
	} {
		got, err := io.ReadAll(&streamConn{Stream: says(c.sent)})
		if c.want == io.EOF {
			c.want = nil // what ReadAll makes of it
		}
		if !errors.Is(err, c.want) || err == nil && !bytes.Equal(got, c.sent) {
			t.Errorf("%s: %q, %v, want %v", name, got, err, c.want)
		}
	}
}

// FuzzPacket: whatever somebody seals with our key, memberlist reads no message that holds others, but in one bundle.
func FuzzPacket(f *testing.F) {
	user := ml(mlUser, []byte("x"))
	for _, b := range [][]byte{nil, user, summed(user), bundled(user, user), summed(bundled(user, ml(mlCompressed, user))), bundled(bundled(user))} {
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		if sift(sieveKeys, sealed(t, sieveKeys[0], 1, message)) != nil {
			return
		}
		if len(message) >= 5 && message[0] == mlSummed {
			message = message[5:]
		}
		if len(message) > 0 && message[0] == mlCompressed {
			t.Error("a compressed message went through")
		}
		if len(message) > 1 && message[0] == mlCompound {
			for i, at := 0, 2+2*int(message[1]); i < int(message[1]); i++ {
				n := int(binary.BigEndian.Uint16(message[2+2*i:]))
				if n > 0 && (message[at] == mlCompressed || message[at] == mlCompound) {
					t.Errorf("message %d of the bundle holds others", i)
				}
				at += n
			}
		}
	})
}
