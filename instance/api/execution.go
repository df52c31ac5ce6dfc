package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"

	"meridian/instance/crm"
)

type executionKey struct{}

// execution is the execution ID of the call: its W3C trace id.
func execution(ctx context.Context) string {
	id, _ := ctx.Value(executionKey{}).(string)
	return id
}

// withExecution takes the execution ID from traceparent or makes one, and
// names it in the answer, whatever the answer is.
func withExecution(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, flags, ok := parseTraceparent(r.Header.Get("traceparent"))
		if !ok {
			id, flags = randomHex(16), "00"
		}
		w.Header().Set("Execution-Id", id)
		w.Header().Set("traceparent", "00-"+id+"-"+randomHex(8)+"-"+flags)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), executionKey{}, id)))
	})
}

// parseTraceparent reads version-traceid-parent-flags. A later version may
// append parts; an all-zero id is not one.
func parseTraceparent(s string) (id, flags string, ok bool) {
	p := strings.Split(s, "-")
	if len(p) < 4 || (p[0] == "00" && len(p) != 4) || p[0] == "ff" ||
		!lowerHex(p[0], 2) || !lowerHex(p[1], 32) || !lowerHex(p[2], 16) || !lowerHex(p[3], 2) {
		return "", "", false
	}
	if strings.Trim(p[1], "0") == "" || strings.Trim(p[2], "0") == "" {
		return "", "", false
	}
	return p[1], p[3], true
}

func lowerHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

func randomHex(n int) string {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		panic(err) // crypto/rand does not fail on supported systems
	}
	return hex.EncodeToString(b)
}

type callerKey struct{}

// callerOf is who the call was authenticated as. Handlers run behind the gate
// or the REST router, which refuse a call without one.
func callerOf(ctx context.Context) crm.Caller {
	c, _ := ctx.Value(callerKey{}).(crm.Caller)
	return c
}
