// Package territoryassignment is the common plugin for the slot "assignment":
// it places a customer in territory, segment and jurisdiction.
package territoryassignment

import "meridian/plugins"

// New makes the plugin.
func New() plugins.Plugin { return nil }
