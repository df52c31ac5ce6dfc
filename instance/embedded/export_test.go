package embedded

import (
	"context"
	"time"
)

// Clean has the broker look for what is past its retention more often.
func (k *Kafka) Clean(ctx context.Context, every time.Duration) { k.clean(ctx, every) }

// ProcessBegan lets tests ask whether a process lives.
var ProcessBegan = processBegan

// NoteBegan records a child as if it had begun at another time.
func (b *Book) NoteBegan(name string, pid int, began string) error {
	b.children[name] = entry{pid, began}
	return b.save()
}

// FetchBinaries fetches PostgreSQL into a folder.
var FetchBinaries = fetchBinaries
