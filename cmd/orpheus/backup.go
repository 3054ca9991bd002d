package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/orpheus-mesh/orpheus/cmd/orpheus/archive"
	"github.com/orpheus-mesh/orpheus/node"
	"github.com/orpheus-mesh/orpheus/node/control"
)

func backup() *cobra.Command {
	cmd := &cobra.Command{Use: "backup FILE", Short: "Write the whole mesh, its keys among it, to an encrypted file (- for standard output)", Args: cobra.ExactArgs(1),
		Long: `Write what every server of the mesh holds, as this one has it at one moment, to FILE: all objects, and the keys without which
a mesh could not begin again. Writes go on meanwhile. The file is compressed and encrypted with age, for recipients
(age-keygen makes a pair: keep the secret one elsewhere) or with a passphrase, and never in the clear.
Not in it: images, the contents of volumes, and the identities of servers.`}
	to := cmd.Flags().StringArrayP("recipient", "r", nil, "age1… key of one who can open the file; may be repeated")
	file := cmd.Flags().StringP("recipients-file", "R", "", "file of such keys, one a line")
	pass := cmd.Flags().String("passphrase-file", "", "file whose first line is the passphrase, instead of recipients")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		passphrase, err := passphrase(*pass, len(*to) == 0 && *file == "", true)
		if err != nil {
			return err
		}
		recipients, err := archive.Recipients(*to, *file, passphrase)
		if err != nil {
			return err
		}
		if args[0] == "-" {
			return writeBackup(cmd.Context(), daemon(cmd), cmd.OutOrStdout(), recipients)
		}
		n, err := backupTo(cmd.Context(), daemon(cmd), args[0], recipients)
		if err == nil {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %.1f MB\n", args[0], float64(n)/1e6)
		}
		return err
	}
	return cmd
}

// backupTo leaves at path the whole backup or what was there before.
func backupTo(ctx context.Context, d *control.Client, path string, to []age.Recipient) (size int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	err = writeBackup(ctx, d, f, to)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		size, err = f.Seek(0, io.SeekEnd)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	return size, os.Rename(f.Name(), path)
}

func writeBackup(ctx context.Context, d *control.Client, w io.Writer, to []age.Recipient) error {
	sealed, err := archive.Writer(w, to...)
	if err != nil {
		return err
	}
	return errors.Join(d.Backup(ctx, sealed), sealed.Close())
}

func restore() *cobra.Command {
	cmd := &cobra.Command{Use: "restore FILE", Short: "Begin a lost mesh again from a backup, or merge one into the mesh that lives (- for standard input)", Args: cobra.ExactArgs(1),
		Long: `Where no daemon runs here and the data directory belongs to no mesh, make it the first server of the backup's mesh; then start it
with "orpheus up" and let others join with new tokens. Servers of before that come back are merged with.

Where the daemon runs, merge the backup into its mesh, as if a server that was away had brought it: what was changed since
stays as it is, what was deleted since stays deleted, and what is older than deletions are remembered goes to
"orpheus lost-and-found". A mesh that lost an object gets it back so only if it was not deleted.`}
	nodeFlags(cmd.Flags())
	cmd.Flags().VisitAll(hideBut("name"))
	key := cmd.Flags().StringP("identity", "i", "", "file of the age secret key that opens the backup")
	pass := cmd.Flags().String("passphrase-file", "", "file whose first line is the passphrase, instead of a key")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		passphrase, err := passphrase(*pass, *key == "", false)
		if err != nil {
			return err
		}
		ids, err := archive.Identities(*key, passphrase)
		if err != nil {
			return err
		}
		in := cmd.InOrStdin()
		if args[0] != "-" {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			in = f
		}
		plain, err := archive.Reader(in, ids...)
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		defer plain.Close()
		return restoreFrom(cmd, plain)
	}
	return cmd
}

// restoreFrom merges into the mesh of the daemon that answers, or makes the data directory where none does.
func restoreFrom(cmd *cobra.Command, plain io.Reader) error {
	out := cmd.OutOrStdout()
	cfg, err := load(cmd) // first: a file or a variable may say where the daemon is
	if err != nil {
		return err
	}
	d := daemon(cmd)
	if _, err := d.Status(cmd.Context()); err == nil {
		m, err := d.Merge(cmd.Context(), plain)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "backup of %s, %s: %d records, %d of them new to this mesh\n", m.Node, m.Time.Format(time.RFC3339), m.Records, m.News)
		if m.Lost > 0 {
			fmt.Fprintf(out, "%d entries are in lost-and-found: see `orpheus lost-and-found`\n", m.Lost)
		}
		return nil
	}
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	m, err := node.Restore(cmd.Context(), cfg, plain, logger(cfg.Debug))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "backup of %s, %s: %d records; this server is the first one of its mesh: start it with `orpheus up`\n", m.Node, m.Time.Format(time.RFC3339), m.Records)
	return nil
}

// passphrase reads the one in a file, or asks for it at the terminal where needed; twice where a typing error would lock
// the file for good.
func passphrase(file string, needed, twice bool) (string, error) {
	if file != "" {
		b, err := archive.Read(file)
		if err != nil {
			return "", fmt.Errorf("passphrase: %w", err)
		}
		line, _, _ := strings.Cut(string(b), "\n")
		if line = strings.TrimSuffix(line, "\r"); line == "" {
			return "", fmt.Errorf("passphrase: the first line of %s is empty", file)
		}
		return line, nil
	}
	if !needed {
		return "", nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", errors.New("a backup is encrypted: name age keys or a --passphrase-file; there is no terminal to ask at")
	}
	first, err := ask("Passphrase: ")
	if err != nil || !twice {
		return first, err
	}
	second, err := ask("Once more: ")
	if err == nil && first != second {
		err = errors.New("the two passphrases differ")
	}
	return first, err
}

func ask(prompt string) (string, error) {
	fmt.Fprint(os.Stderr, prompt)
	b, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(os.Stderr)
	return string(b), err
}
