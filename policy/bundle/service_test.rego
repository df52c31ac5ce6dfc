package meridian.service_test

import data.meridian.service

with_role(role) := {"id": "x@amer", "kind": "person", "roles": [role]}

test_officers_keep_facts_and_policy if {
	every p in ["agreement.read", "agreement.write", "policy.read", "policy.test", "explain.any", "fact.read", "fact.write"] {
		service.permit(with_role("officer"), p)
		not service.permit(with_role("ops"), p)
		not service.permit(with_role("rep"), p)
	}
}

test_only_officers_change_policy if {
	every p in ["policy.propose", "policy.approve", "policy.activate", "policy.deny"] {
		service.permit(with_role("officer"), p)
		every role in ["ops", "integrator", "loader", "rep", "manager", "reader"] {
			not service.permit(with_role(role), p)
		}
	}
}

test_only_officers_see_who_looked_at_what if {
	service.permit(with_role("officer"), "audit.read")
	every role in ["ops", "integrator", "loader", "rep", "manager", "reader"] {
		not service.permit(with_role(role), "audit.read")
	}
}

test_only_officers_compare_policies_and_ask_about_the_past if {
	every p in ["policy.impact", "audit.past"] {
		service.permit(with_role("officer"), p)
		every role in ["ops", "integrator", "loader", "rep", "manager", "reader"] {
			not service.permit(with_role(role), p)
		}
	}
}

test_managers_break_the_glass_and_officers_review_it if {
	service.permit(with_role("manager"), "breakglass")
	every role in ["officer", "ops", "integrator", "loader", "rep", "reader"] {
		not service.permit(with_role(role), "breakglass")
	}
	service.permit(with_role("officer"), "breakglass.review")
	every role in ["manager", "ops", "integrator", "loader", "rep", "reader"] {
		not service.permit(with_role(role), "breakglass.review")
	}
}

test_operators_and_integrators_see_the_machinery if {
	every p in ["exchange.read", "plugin.read", "load.read", "instance.read"] {
		every role in ["ops", "integrator", "officer"] {
			service.permit(with_role(role), p)
		}
		not service.permit(with_role("manager"), p)
	}
}

test_loads_are_run_by_loaders_and_operators if {
	service.permit(with_role("loader"), "load.run")
	service.permit(with_role("ops"), "load.run")
	not service.permit(with_role("officer"), "load.run")
	not service.permit(with_role("loader"), "load.read")
}

test_everybody_sees_the_schema if service.permit(with_role("none"), "schema.read")

test_unknown_permissions_are_nobodys if not service.permit(with_role("officer"), "everything")
