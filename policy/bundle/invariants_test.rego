# What no change of the rules may break. These are tests like others, and every
# rule of the bundle is tried; a proposal that drops or rewords one of them says
# so to whoever approves it.
package meridian.invariants_test

import data.meridian.rules
import data.meridian.rules_test as cases

actions := ["create", "read", "update", "delete", "share", "withhold", "publish"]

# Who keeps the rules, runs the machines or brings data reads no customer.
keepers := [object.union(cases.rep, {"roles": [role]}) | some role in ["officer", "ops", "integrator", "loader"]]

test_keepers_read_no_customer if {
	every keeper in keepers {
		ask := cases.ask(keeper, "read")
		not rules.territory(ask, cases.record, cases.now)
		not rules.steward(ask, object.union(cases.record, {"segment": "unassigned"}), cases.now)
		not rules.relationship(ask, cases.record, cases.now)
		not rules.load(ask, cases.record, cases.now)
		not rules.agreement(ask, cases.record, cases.agreement, cases.now)
		not rules.share(ask, cases.record, object.union(cases.grant, {"key": "s:rep.west@amer"}), cases.now)
		not rules.emergency(ask, cases.record, object.union(cases.glass, {"key": "s:rep.west@amer"}), cases.now)
	}
}

# Without an agreed jurisdiction nothing leaves, whatever opens it.
test_residency_is_for_every_jurisdiction if {
	every jurisdiction in ["DE", "FR", "CN", "unassigned"] {
		asking := object.union(cases.emea, {"jurisdictions": ["US"]})
		rules.residency(cases.ask(asking, "publish"), object.union(cases.record, {"jurisdiction": jurisdiction}), cases.now)
	}
}

# Another instance gets no group that its contract does not name.
test_contracts_bound_what_leaves if {
	every group in ["commercial", "personal", "plugin_group"] {
		wide := object.union(cases.agreement, {"groups": [group]})
		not rules.territory_reveals(cases.ask(cases.emea, "publish"), cases.record, cases.now, group)
		not rules.agreement_reveals(cases.ask(cases.emea, "publish"), cases.record, wide, cases.now, group)
	}
}

# A wall and a withholding close every action to everybody they name.
test_walls_hold_for_every_action if {
	every action in actions {
		wall := object.union(cases.agreement, {"effect": "wall", "department": "us-sales"})
		rules.wall(cases.ask(cases.rep, action), cases.record, wall, cases.now)
		kept := object.union(cases.grant, {"kind": "withhold", "key": "s:rep.west@amer"})
		rules.withhold(cases.ask(cases.rep, action), cases.record, kept, cases.now)
	}
}
