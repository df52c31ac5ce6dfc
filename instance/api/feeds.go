package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"meridian/instance/crm"
	feedv1 "meridian/proto/gen/meridian/feed/v1"
)

// sendTimeout is how long a watcher may take to accept one event. Who is
// slower is cut off and watches again; the feed does not wait for them.
const sendTimeout = 30 * time.Second

// feeds is meridian.feed.v1.FeedService.
type feeds struct{ *server }

func (s feeds) Watch(ctx context.Context, req *feedv1.WatchRequest, stream *connect.ServerStream[feedv1.WatchResponse]) error {
	call, _ := connect.CallInfoForHandlerContext(ctx)
	return s.watch(ctx, call.RequestHeader(), req.Entity, req.Filter, func(e Event) error {
		return stream.Send(protoEvent(e))
	})
}

func protoEvent(e Event) *feedv1.WatchResponse {
	out := &feedv1.WatchResponse{Event: e.Type, Id: string(e.ID), At: protoTime(e.At), ExecutionId: e.Execution}
	if e.Record != nil {
		out.Record = protoRecord(*e.Record)
	}
	return out
}

// watch runs a watch until its caller leaves, the server shuts down or the
// token that opened it is no longer valid.
func (s *server) watch(ctx context.Context, h http.Header, entity, filter string, send func(Event) error) error {
	if s.Watch == nil {
		return notRunning("feed")
	}
	ctx, cancel := streaming(ctx)
	defer cancel()
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()
	err := s.Watch(ctx, callerOf(ctx), entity, filter, func(e Event) error {
		if err := s.still(h); err != nil {
			return err
		}
		return send(e)
	})
	if err != nil && ctx.Err() != nil && crm.KindOf(err) == crm.Internal {
		return nil // the stream was ended, not broken
	}
	return err
}

// sender writes the parts of a stream with a deadline each and flushes them.
type sender struct {
	w http.ResponseWriter
	c *http.ResponseController
}

func newSender(w http.ResponseWriter) *sender {
	return &sender{w: w, c: http.NewResponseController(w)}
}

func (s *sender) send(b []byte) error {
	// Not every writer has deadlines (tests record); those never block.
	_ = s.c.SetWriteDeadline(time.Now().Add(sendTimeout))
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.c.Flush()
}

// sse is one server-sent event; data is JSON, which has no line breaks.
func sse(name string, id int64, data []byte) []byte {
	return fmt.Appendf(nil, "event: %s\nid: %d\ndata: %s\n\n", name, id, data)
}
