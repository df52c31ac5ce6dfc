package pluginhost

// Waiting counts the jobs that wait for a call.
func (h *Host) Waiting() int {
	n := 0
	for _, r := range h.runners {
		r.queue.mu.Lock()
		n += len(r.queue.waiting)
		r.queue.mu.Unlock()
	}
	return n
}

// Backoff is the wait before the n-th restart in a row.
var Backoff = backoff
