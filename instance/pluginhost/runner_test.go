package pluginhost_test

import (
	"testing"
	"time"

	"meridian/instance/pluginhost"
)

// However often a plugin was killed, the next restart must leave it a second to
// start within the five that are promised; and one that never comes up must not
// be tried without pause.
func TestBackoff(t *testing.T) {
	if d := pluginhost.Backoff(0); d != 0 {
		t.Errorf("the first restart waits %v", d)
	}
	for n, most := range map[int]time.Duration{1: 300 * time.Millisecond, 3: 1200 * time.Millisecond, 4: 2400 * time.Millisecond, 9: 4 * time.Second, 1000: 4 * time.Second} {
		if d := pluginhost.Backoff(n); d <= 0 || d > most {
			t.Errorf("restart %d waits %v, want at most %v", n, d, most)
		}
	}
	if d := pluginhost.Backoff(1000); d < 2*time.Second {
		t.Errorf("a plugin that never comes up is tried again after %v already", d)
	}
}
