// Package archive wraps a backup for the world outside: compressed with zstd, then encrypted with age. A backup holds the keys
// of the mesh and of its Secrets, so there is no way to write one in the clear.
package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

const (
	window   = 8 << 20  // bytes of memory that reading may take, whatever the file says
	keyBytes = 1 << 20  // of a file of recipients, identities or a passphrase
	shortest = 12       // characters of a passphrase: whoever has the file can try as many as he likes
	plenty   = 16 << 20 // bytes that any file may expand to
	swelling = 10_000   // times its own size, beyond: a record of 1 MiB has a signature of 64 bytes, which nothing compresses
)

// Recipients are those that can open a backup: age1… keys, the keys in a file (one a line, # for comments), or a passphrase. A
// passphrase stands alone.
func Recipients(keys []string, file, passphrase string) ([]age.Recipient, error) {
	if passphrase != "" {
		if len(keys) > 0 || file != "" {
			return nil, errors.New("a passphrase stands alone: give it or recipients")
		}
		if len(passphrase) < shortest {
			return nil, fmt.Errorf("the passphrase has %d characters: give at least %d", len(passphrase), shortest)
		}
		r, err := age.NewScryptRecipient(passphrase)
		return []age.Recipient{r}, err
	}
	var out []age.Recipient
	text := strings.Join(keys, "\n")
	if file != "" {
		b, err := Read(file)
		if err != nil {
			return nil, fmt.Errorf("recipients: %w", err)
		}
		text += "\n" + string(b)
	}
	if strings.TrimSpace(text) != "" {
		var err error
		if out, err = age.ParseRecipients(strings.NewReader(text)); err != nil {
			return nil, fmt.Errorf("recipients: %w: give keys that begin with age1, as age-keygen prints them", err)
		}
	}
	return out, nil
}

// Identities are the secret keys in a file, or a passphrase.
func Identities(file, passphrase string) ([]age.Identity, error) {
	if passphrase != "" {
		id, err := age.NewScryptIdentity(passphrase)
		return []age.Identity{id}, err
	}
	b, err := Read(file)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	ids, err := age.ParseIdentities(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("identity: %s: %w: give the file that age-keygen wrote", file, err)
	}
	return ids, nil
}

// Read reads a small file of keys or a passphrase.
func Read(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, keyBytes))
}

// Writer encrypts what is written to it. Without Close the result cannot be opened.
func Writer(w io.Writer, to ...age.Recipient) (io.WriteCloser, error) {
	if len(to) == 0 {
		return nil, errors.New("a backup holds the keys of the mesh, so it is never written in the clear: give recipients or a passphrase")
	}
	sealed, err := age.Encrypt(w, to...)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	packed, err := zstd.NewWriter(sealed, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return &writer{packed, sealed}, nil
}

type writer struct {
	*zstd.Encoder
	sealed io.Closer
}

func (w *writer) Close() error { return errors.Join(w.Encoder.Close(), w.sealed.Close()) }

// Reader decrypts what Writer wrote.
func Reader(r io.Reader, with ...age.Identity) (io.ReadCloser, error) {
	opened, err := age.Decrypt(r, with...)
	var none *age.NoIdentityMatchError
	switch {
	case errors.As(err, &none):
		return nil, errors.New("the backup was made for others: this key or passphrase does not open it")
	case err != nil:
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	file := &counter{r: opened}
	plain, err := zstd.NewReader(file, zstd.WithDecoderMaxWindow(window), zstd.WithDecoderMaxMemory(2*window), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return &bounded{plain.IOReadCloser(), file, 0}, nil
}

var errBomb = fmt.Errorf("the file expands to more than %d times its size: this is no backup that orpheus made", swelling)

// bounded ends what expands further than a backup can. Anybody can encrypt a file for a recipient, and what reads it may skip
// as much as there is.
type bounded struct {
	io.ReadCloser
	file  *counter
	plain int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.plain += int64(n); b.plain > plenty && b.plain/swelling > b.file.n {
		return 0, errBomb
	}
	return n, err
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
