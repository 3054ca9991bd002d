package gossip

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// ErrInitialised: the directory already belongs to a mesh.
var ErrInitialised = errors.New("this data directory already belongs to a mesh")

// Initialised tells whether dir holds a member's identity and keys, so that Open can succeed.
func Initialised(dir string) bool {
	c := Config{Dir: dir}
	for _, f := range []string{identityFile, certificateFile, keysFile} {
		if _, err := os.Stat(c.path(f)); errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}

// Create makes the first member of a new mesh: an identity, the mesh's keys and a certificate. It starts nothing and
// returns ErrInitialised where the directory has a mesh already.
func Create(cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	if Initialised(cfg.Dir) {
		return fmt.Errorf("create a mesh in %s: %w", cfg.Dir, ErrInitialised)
	}
	self, err := loadIdentity(cfg)
	if err != nil {
		return err
	}
	now := time.Now()
	keys, err := newKeys(now)
	if err != nil {
		return err
	}
	cert, err := keys.issue(self.ID(), cfg.Name, now)
	if err != nil {
		return err
	}
	return enrol(cfg, keys, cert, nil)
}

// enrol writes what a member needs. The keys come last: their file is what makes the directory initialised, so that a
// power cut on the way leaves a directory that can join again under the same identity.
func enrol(cfg Config, keys Keys, cert certificate, peers []known) error {
	if err := writeJSON(cfg.path(peersFile), peers); err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	if err := writeJSON(cfg.path(certificateFile), cert); err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	if err := writeJSON(cfg.path(keysFile), keys); err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	return nil
}
