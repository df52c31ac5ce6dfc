package access

import "meridian/instance/crm"

// Schema is the live schema of every entity, for who decodes a call or
// describes the interface before anybody asked. Schemas are not secret, and
// it costs no statement.
func (d *Door) Schema() []crm.Definition { return d.store.Definitions() }
