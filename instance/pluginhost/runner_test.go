package pluginhost_test

import (
	"testing"
	"time"

	"meridian/instance/pluginhost"
)

// Kills a few seconds apart must each be recovered from within five seconds,
// and a plugin that never comes up must not be tried without end.
func TestBackoff(t *testing.T) {
	if d := pluginhost.Backoff(0); d != 0 {
		t.Errorf("the first restart waits %v", d)
	}
	for n, most := range map[int]time.Duration{1: 300 * time.Millisecond, 3: 1200 * time.Millisecond, 4: 2400 * time.Millisecond, 9: 36 * time.Second, 1000: 36 * time.Second} {
		if d := pluginhost.Backoff(n); d <= 0 || d > most {
			t.Errorf("restart %d waits %v, want at most %v", n, d, most)
		}
	}
}
