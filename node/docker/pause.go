package docker

import (
	"encoding/binary"
	"fmt"
)

// The pause program holds a pod's namespaces open: it asks the kernel to reap its children by itself (sigaction of SIGCHLD
// to SIG_IGN; with a shared process namespace it inherits orphans) and then sleeps for ever. It is so small that it is
// assembled here, in the open, instead of being kept as a binary:
//
//	rt_sigaction(SIGCHLD, {SIG_IGN}, NULL, 8)
//	for { pause() }        // arm64 has no pause(2): ppoll(NULL, 0, NULL, NULL, 0)
const (
	loadAddress = 0x400000
	elfHeader   = 64
	progHeader  = 56
	sigchld     = 17
	sigIgn      = 1
)

// pauseELF is the pause program for a machine ("x86_64" or "aarch64", as uname says; Go's names do too).
func pauseELF(arch string) ([]byte, error) {
	switch arch {
	case "x86_64", "amd64":
		return executable(62, pauseAMD64()), nil
	case "aarch64", "arm64":
		return executable(183, pauseARM64()), nil
	}
	return nil, fmt.Errorf("no pause program for machine %q: amd64 and arm64 are known", arch)
}

// action is the kernel's struct sigaction: handler, flags, restorer, mask.
func action() []byte {
	return binary.LittleEndian.AppendUint64(nil, sigIgn)[:8:8]
}

func pauseAMD64() []byte {
	code := []byte{
		0xb8, 13, 0, 0, 0, // mov eax, SYS_rt_sigaction
		0xbf, sigchld, 0, 0, 0, // mov edi, SIGCHLD
		0x48, 0x8d, 0x35, 19, 0, 0, 0, // lea rsi, [rip+action]
		0x31, 0xd2, // xor edx, edx
		0x41, 0xba, 8, 0, 0, 0, // mov r10d, 8
		0x0f, 0x05, // syscall
		0xb8, 34, 0, 0, 0, // mov eax, SYS_pause
		0x0f, 0x05, // syscall
		0xeb, 0xf7, // jmp to mov
	}
	code = append(code, action()...) // 19 bytes after lea
	return append(code, make([]byte, 24)...)
}

func pauseARM64() []byte {
	const actionAt = 13 * 4
	movz := func(register, value uint32) uint32 { return 0xd2800000 | value<<5 | register }
	adr := func(register, offset uint32) uint32 { return 0x10000000 | (offset&3)<<29 | (offset>>2)<<5 | register }
	const svc, back6 = 0xd4000001, 0x14000000 | (0x3ffffff - 5) // b .-24
	words := []uint32{
		movz(0, sigchld), adr(1, actionAt-4), movz(2, 0), movz(3, 8), movz(8, 134), svc,
		movz(0, 0), movz(1, 0), movz(2, 0), movz(3, 0), movz(8, 73), svc, back6,
	}
	var code []byte
	for _, w := range words {
		code = binary.LittleEndian.AppendUint32(code, w)
	}
	return append(append(code, action()...), make([]byte, 24)...)
}

// executable wraps code into the smallest executable: one header, one loadable segment that covers the whole file.
func executable(machine uint16, code []byte) []byte {
	le := binary.LittleEndian
	size := uint64(elfHeader + progHeader + len(code))
	b := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	b = le.AppendUint16(b, 2) // executable
	b = le.AppendUint16(b, machine)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, loadAddress+elfHeader+progHeader) // entry
	b = le.AppendUint64(b, elfHeader)                        // program headers follow this one
	b = le.AppendUint64(b, 0)                                // no sections
	b = le.AppendUint32(b, 0)                                // flags
	for _, v := range []uint16{elfHeader, progHeader, 1, 0, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	b = le.AppendUint32(b, 1) // load
	b = le.AppendUint32(b, 5) // readable, executable
	for _, v := range []uint64{0, loadAddress, loadAddress, size, size, 0x10000} {
		b = le.AppendUint64(b, v)
	}
	return append(b, code...)
}
