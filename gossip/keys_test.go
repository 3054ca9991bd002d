package gossip

import (
	"os"
	"strings"
	"testing"
)

func TestDamagedKeysSayWhereAnotherCopyIs(t *testing.T) {
	cfg := configure(t, "n0")
	if err := Create(cfg); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"empty": "", "garbage": "\x00\x01", "of nothing": "{}"} {
		if err := os.WriteFile(cfg.path(keysFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(cfg)
		if err == nil || !strings.Contains(err.Error(), cfg.path(keysFile)+" are damaged") || !strings.Contains(err.Error(), "copy that file from another server") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
