// Command meridian-plugin-data-quality runs the plugin data-quality in a
// process of its own; a Meridian instance starts it.
package main

import (
	dataquality "meridian/plugins/data-quality"
	"meridian/plugins/wire"
)

func main() { wire.Serve(dataquality.New) }
