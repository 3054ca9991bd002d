package archive

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

func TestOnlyWhoItIsForOpensIt(t *testing.T) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "keys.txt")
	if err := os.WriteFile(file, []byte("# mine\n"+key.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := bytes.Repeat([]byte("the mesh's authority "), 10_000)
	for name, c := range map[string]struct {
		keys       []string
		passphrase string
	}{"recipient": {[]string{other.Recipient().String(), key.Recipient().String()}, ""}, "passphrase": {nil, "correct horse battery"}} {
		t.Run(name, func(t *testing.T) {
			to, err := Recipients(c.keys, "", c.passphrase)
			if err != nil {
				t.Fatal(err)
			}
			if r, ok := to[0].(*age.ScryptRecipient); ok {
				r.SetWorkFactor(10) // the test has no second to spare for each try
			}
			var b bytes.Buffer
			w, err := Writer(&b, to...)
			if err == nil {
				_, err = w.Write(secret)
			}
			if err == nil {
				err = w.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(b.Bytes(), []byte("authority")) || b.Len() > len(secret)/10 {
				t.Fatalf("%d bytes of %d, or in the clear", b.Len(), len(secret))
			}
			with, err := Identities(file, c.passphrase)
			if err != nil {
				t.Fatal(err)
			}
			r, err := Reader(bytes.NewReader(b.Bytes()), with...)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, secret) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			wrong, err := Identities("", "another passphrase")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Reader(bytes.NewReader(b.Bytes()), wrong...); err == nil {
				t.Fatal("anybody can open it")
			}
			cut, err := Reader(bytes.NewReader(b.Bytes()[:b.Len()-20]), with...)
			if err == nil {
				_, err = io.ReadAll(cut)
			}
			if err == nil {
				t.Fatal("a file that was cut short reads as whole")
			}
		})
	}
}

func TestNothingIsWrittenInTheClear(t *testing.T) {
	to, err := Recipients(nil, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Writer(io.Discard, to...); err == nil || !strings.Contains(err.Error(), "never written in the clear") {
		t.Fatalf("got %v", err)
	}
	if _, err := Recipients(nil, "", "short"); err == nil {
		t.Fatal("a passphrase of five characters")
	}
	if _, err := Recipients([]string{"AGE-SECRET-KEY-1"}, "", ""); err == nil {
		t.Fatal("a secret key for a recipient")
	}
}

// A file of some kilobytes that expands for ever ends with an error that says so, long before it is over, in little memory.
func TestABombIsNoBackup(t *testing.T) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := age.Encrypt(&b, key.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	begin := "orpheus snapshot\x01"
	bomb := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3, byte(len(begin) << 3), 0, 0} // zstd: magic, a window of 8 MiB, a block as it is
	bomb = append(bomb, begin...)
	const block = 128 << 10
	for range 2048 { // 256 MiB of sections without a name, of no bytes, which a reader skips
		head := uint32(block<<3 | 1<<1)
		bomb = append(bomb, byte(head), byte(head>>8), byte(head>>16), 0)
	}
	if _, err = w.Write(bomb); err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := Reader(&b, key)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = store.OpenSnapshot(r)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, errBomb) {
		t.Fatalf("got %v", err)
	}
	if got := after.HeapSys - before.HeapSys; after.HeapSys > before.HeapSys && got > 64<<20 {
		t.Errorf("it took %d MB", got>>20)
	}
}

// The most regular of backups, objects of 1 MiB of zeros, expands to 5,800 times its size, and is not taken for a bomb.
func TestARegularBackupIsNoBomb(t *testing.T) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := Writer(&b, key.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	object := make([]byte, 1<<20)
	for range 64 {
		_, _ = rand.Read(object[:64]) // its signature
		if _, err := w.Write(object); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	size := b.Len()
	r, err := Reader(&b, key)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); err != nil || n != 64<<20 {
		t.Fatalf("%d bytes of a file of %d, %v", n, size, err)
	}
}
