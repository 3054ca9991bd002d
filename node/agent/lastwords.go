package agent

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orpheus-mesh/orpheus/node/docker"
)

// Bounds of a termination message, as the field has them.
const (
	wordsMost    = 4096
	logWordsMost = 2048
	logWordsTail = 80 // lines
	wordsTimeout = 5 * time.Second
)

func (a *Agent) lastWordsFile(uid types.UID, container string, attempt int) string {
	return filepath.Join(a.podDir(uid), "last-words", container+"-"+strconv.Itoa(attempt))
}

// lastWords is what a dead container left as its termination message: its file, or where it asked so and failed silently,
// the end of its log.
func (a *Agent) lastWords(ctx context.Context, uid types.UID, i instance, c *v1.Container) string {
	if f, err := os.Open(a.lastWordsFile(uid, i.Of, i.Attempt)); err == nil {
		text, _ := io.ReadAll(io.LimitReader(f, wordsMost))
		_ = f.Close()
		if len(text) > 0 {
			return string(text)
		}
	}
	if c.TerminationMessagePolicy != v1.TerminationMessageFallbackToLogsOnError || i.ExitCode == 0 {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, wordsTimeout)
	defer cancel()
	var out bytes.Buffer
	if err := a.cfg.Docker.Logs(ctx, i.ID, docker.LogOptions{Tail: logWordsTail, TTY: i.TTY}, &out, &out); err != nil {
		return "Error on reading termination message from logs: " + err.Error()
	}
	text := out.Bytes()
	return string(text[max(0, len(text)-logWordsMost):])
}
