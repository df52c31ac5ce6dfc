package access

import "meridian/instance/crm"

// unbuilt marks signatures published ahead of their bodies.
var unbuilt = crm.Errorf(crm.Unavailable, "this part of the door is not built yet")
