# Service-level permissions: what a subject may do that is not about one record.
package meridian.service

role_permissions := {
	"officer": {
		"policy.propose", "policy.approve", "policy.activate", "policy.deny",
		"agreement.read", "agreement.write", "policy.read", "policy.test", "explain.any", "audit.read",
		"policy.impact", "audit.past",
		"fact.read", "fact.write", "breakglass.review", "exchange.read", "plugin.read", "load.read", "instance.read",
	},
	"manager": {"breakglass"},
	"ops": {"exchange.read", "plugin.read", "load.read", "instance.read", "load.run"},
	"integrator": {"exchange.read", "plugin.read", "load.read", "instance.read"},
	"loader": {"load.run"},
}

permit(subject, permission) if {
	some role in subject.roles
	permission in role_permissions[role]
}

# Everybody with a valid token may see which entities and fields there are.
permit(_, "schema.read") := true
