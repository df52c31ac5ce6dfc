// Command lock writes the checksum lock of the plugin binaries in a folder:
// go run ./plugins/wire/lock bin
package main

import (
	"fmt"
	"os"

	"meridian/plugins/wire"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: lock FOLDER")
		os.Exit(2)
	}
	lock, err := wire.WriteLock(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "lock:", err)
		os.Exit(1)
	}
	fmt.Printf("locked %d plugins in %s\n", len(lock), os.Args[1])
}
