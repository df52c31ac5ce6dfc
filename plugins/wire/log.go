package wire

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// bridgeLog gives go-plugin a logger that writes to log. Its own chatter
// ("plugin exited") is for debugging: the host tells what matters.
func bridgeLog(log *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Level: hclog.Trace, Output: io.Discard})
	if log != nil {
		l.RegisterSink(sink{log})
	}
	return l
}

type sink struct{ log *slog.Logger }

// Accept implements hclog.SinkAdapter. Records of the plugin itself come
// under the name of its binary, with their own level.
func (s sink) Accept(name string, level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	if name != "" && !strings.HasPrefix(name, "stdio") {
		switch level {
		case hclog.Info:
			to = slog.LevelInfo
		case hclog.Warn:
			to = slog.LevelWarn
		case hclog.Error:
			to = slog.LevelError
		}
	}
	s.log.Log(context.Background(), to, msg, args...)
}

// outputLog turns what a plugin prints into debug records, line by line.
func outputLog(log *slog.Logger, stream string) io.Writer {
	if log == nil {
		return io.Discard
	}
	return lines{log, stream}
}

type lines struct {
	log    *slog.Logger
	stream string
}

func (l lines) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		if line = strings.TrimSpace(line); line != "" {
			l.log.Debug("plugin printed", "stream", l.stream, "line", line)
		}
	}
	return len(p), nil
}
