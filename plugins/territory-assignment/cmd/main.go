// Command meridian-plugin-territory-assignment runs the plugin
// territory-assignment in a process of its own; a Meridian instance starts it.
package main

import (
	territoryassignment "meridian/plugins/territory-assignment"
	"meridian/plugins/wire"
)

func main() { wire.Serve(territoryassignment.New) }
