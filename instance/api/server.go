package api

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// NewServer makes the server of one instance: HTTP/1.1 and unencrypted HTTP/2
// on one port. Shutdown lets calls finish and ends the streams (watches, health
// watches), which would otherwise hold it for ever.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	closing := make(chan struct{})
	s := &http.Server{
		Handler:           h,
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.Background(), closingKey{}, (<-chan struct{})(closing))
		},
	}
	s.RegisterOnShutdown(sync.OnceFunc(func() { close(closing) }))
	return s
}

type closingKey struct{}

// streaming is the context of a stream: it ends with the call or when the
// server shuts down.
func streaming(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	closing, ok := ctx.Value(closingKey{}).(<-chan struct{})
	if !ok {
		return ctx, cancel
	}
	go func() {
		select {
		case <-closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
