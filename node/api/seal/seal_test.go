package seal

import (
	"bytes"
	"testing"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func TestSealedBodiesOpenOnlyInTheirPlaceAndWithTheirKey(t *testing.T) {
	here := store.Key{Kind: "core/secrets", Namespace: "shop", Name: "password"}
	there := store.Key{Kind: "core/secrets", Namespace: "shop", Name: "other"}
	ring, err := New([][]byte{key(1)})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := ring.Close(here, []byte("hunter2"))
	if err != nil || bytes.Contains(sealed, []byte("hunter2")) {
		t.Fatalf("sealed as %q, %v", sealed, err)
	}
	if plain, stale, err := ring.Open(here, sealed); err != nil || stale || string(plain) != "hunter2" {
		t.Errorf("opened %q, stale %v, %v", plain, stale, err)
	}
	if _, _, err := ring.Open(there, sealed); err == nil {
		t.Error("it opened in another object's place")
	}
	sealed[len(sealed)-1] ^= 1
	if _, _, err := ring.Open(here, sealed); err == nil {
		t.Error("it opened although a bit was turned")
	}
	sealed[len(sealed)-1] ^= 1
	if err := ring.Set([][]byte{key(2), key(1)}); err != nil {
		t.Fatal(err)
	}
	if _, stale, err := ring.Open(here, sealed); err != nil || !stale {
		t.Errorf("after a rotation: stale %v, %v", stale, err)
	}
	if err := ring.Set([][]byte{key(2)}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ring.Open(here, sealed); err == nil {
		t.Error("it opened without its key")
	}
}

func TestBadKeysAreRefused(t *testing.T) {
	for _, keys := range [][][]byte{nil, {[]byte("short")}} {
		if _, err := New(keys); err == nil {
			t.Errorf("keys %q were taken", keys)
		}
	}
}
