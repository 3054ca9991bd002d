package archive

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
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
