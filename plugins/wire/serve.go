package wire

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"

	"meridian/plugins"
)

// Started reports whether a host started this process as a plugin.
func Started() bool { return os.Getenv(cookieKey) == cookieValue }

// Serve runs the plugin that build returns until the host ends it. It is all a
// plugin's main does: build runs with standard output already taken away, and
// slog's default logger reaches the host's log.
func Serve(build func() plugins.Plugin) {
	if !Started() {
		fmt.Fprintln(os.Stderr, "This is a plugin of Meridian; an instance starts it. Name it under plugins in the instance's file.")
		os.Exit(2)
	}
	if fd, err := strconv.Atoi(os.Getenv(lifelineEnv)); err == nil {
		go dieWithHost(os.NewFile(uintptr(fd), "lifeline"))
	}
	out, err := takeStdout()
	if err != nil {
		fmt.Fprintln(os.Stderr, "plugin: cannot keep standard output for the handshake:", err)
		os.Exit(2)
	}
	os.Stdout = os.Stderr
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{ReplaceAttr: hclogKeys})))
	impl := build()
	os.Stdout = out // go-plugin writes the handshake there, then replaces it
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig:  handshake(),
		VersionedPlugins: versions(&bridge{impl: impl}),
		GRPCServer:       newServer,
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr, JSONFormat: true}),
	})
	runtime.KeepAlive(out)
}

// dieWithHost ends this process when the host's end of the pipe closes.
func dieWithHost(lifeline *os.File) {
	_, _ = io.Copy(io.Discard, lifeline)
	os.Exit(3)
}

// hclogKeys names a record's standard attributes as go-plugin's host reads
// them from standard error.
func hclogKeys(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.TimeKey:
		return slog.String("@timestamp", a.Value.Time().Format("2006-01-02T15:04:05.000000Z07:00"))
	case slog.LevelKey:
		return slog.String("@level", strings.ToLower(a.Value.String()))
	case slog.MessageKey:
		return slog.Attr{Key: "@message", Value: a.Value}
	}
	return a
}
