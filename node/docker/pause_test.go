package docker

import (
	"bytes"
	"debug/elf"
	"testing"
)

func TestPauseIsAnExecutable(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"x86_64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		raw, err := pauseELF(arch)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		if f.Machine != machine || f.Entry != loadAddress+elfHeader+progHeader || len(f.Progs) != 1 || f.Progs[0].Filesz != uint64(len(raw)) {
			t.Errorf("%s: %+v %+v", arch, f.FileHeader, f.Progs[0].ProgHeader)
		}
	}
	if _, err := pauseELF("vax"); err == nil {
		t.Error("a machine that nobody wrote it for")
	}
}
