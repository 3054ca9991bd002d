package gossip

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
)

// Types of memberlist's messages that hold others.
const (
	mlCompound   = 7
	mlCompressed = 9
	mlSealed     = 10
	mlSummed     = 12
)

// Of memberlist's encryption.
const (
	sealVersion   = 1           // the only one that our servers use
	sealedNothing = 1 + 12 + 16 // bytes of version, nonce and tag around a message
	streamHead    = 1 + 4 + 1   // bytes of a stream's type, length and version
)

var (
	errNoKey      = errors.New("no key of the mesh opens it")
	errVersion    = errors.New("its encryption is of another version than ours")
	errCompressed = errors.New("it is compressed, or a bundle in a bundle, and nobody sends such")
	errBundle     = errors.New("its bundle is cut short")
	errStream     = errors.New("a stream of serf's that is empty, in the clear, or encrypted otherwise than ours")
)

// sift says why a packet must not reach memberlist: whoever holds the gossip key, an evicted server for one, could end the process
// with it, or fill its memory. memberlist decompresses whatever EnableCompression says, and what came out of a message again, to
// 40 MiB each; and it panics where version 0 of its encryption names more padding than there is. Our servers send neither.
func sift(keys [][]byte, packet []byte) error {
	if len(packet) == 0 || packet[0] > sealVersion {
		return errNoKey // a stranger's
	}
	message, err := unsealed(keys, packet[1:])
	switch {
	case err != nil:
		return err
	case packet[0] != sealVersion:
		return errVersion
	}
	if len(message) >= 5 && message[0] == mlSummed {
		message = message[5:] // memberlist compares the sum
	}
	if len(message) == 0 || message[0] != mlCompound {
		return plainly(message)
	}
	return bundle(message[1:])
}

// unsealed is memberlist's decryption, which it does not lend.
func unsealed(keys [][]byte, sealed []byte) ([]byte, error) {
	for _, key := range keys {
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("read the gossip key: %w", err)
		}
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("read the gossip key: %w", err)
		}
		if n := gcm.NonceSize(); len(sealed) >= n {
			if message, err := gcm.Open(nil, sealed[:n], sealed[n:], nil); err == nil {
				return message, nil
			}
		}
	}
	return nil, errNoKey
}

// bundle looks at every message of one, as memberlist will cut it: 1 B how many, their lengths, they themselves.
func bundle(b []byte) error {
	if len(b) == 0 || len(b) < 1+2*int(b[0]) {
		return errBundle
	}
	sizes, rest := b[1:1+2*int(b[0])], b[1+2*int(b[0]):]
	for ; len(sizes) > 0; sizes = sizes[2:] {
		n := int(binary.BigEndian.Uint16(sizes))
		if n > len(rest) {
			return errBundle
		}
		if err := plainly(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

func plainly(message []byte) error {
	if len(message) > 0 && (message[0] == mlCompressed || message[0] == mlCompound) {
		return errCompressed
	}
	return nil
}

// soundStream judges how a stream begins: memberlist panics where nothing is in one, or too much padding. Only members open and answer
// streams, so that what they decompress to, 40 MiB at most and never twice, is left to memberlist.
func soundStream(head []byte) error {
	if head[0] != mlSealed || binary.BigEndian.Uint32(head[1:]) <= sealedNothing || head[5] != sealVersion {
		return errStream
	}
	return nil
}
