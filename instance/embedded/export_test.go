package embedded

// ProcessBegan lets tests ask whether a process lives.
var ProcessBegan = processBegan

// NoteBegan records a child as if it had begun at another time.
func (b *Book) NoteBegan(name string, pid int, began string) error {
	b.children[name] = entry{pid, began}
	return b.save()
}

// FetchBinaries fetches PostgreSQL into a folder.
var FetchBinaries = fetchBinaries
