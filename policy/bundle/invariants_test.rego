# What no change of the rules may break. These are tests like others, and every
# rule of the bundle is tried; a proposal that drops or rewords one of them says
# so to whoever approves it.
package meridian.invariants_test

import data.meridian.decision
import data.meridian.rules
import data.meridian.rules_test as cases

actions := ["create", "read", "update", "delete", "share", "withhold", "publish"]

# Who keeps the rules, runs the machines or brings data reads no customer.
keepers := [object.union(cases.rep, {"roles": [role]}) | some role in ["officer", "ops", "integrator", "loader"]]

# Whatever facts there are, and whichever ground a change may add.
facts := {
	"agreement": [object.union(cases.agreement, {"department": "us-sales"})],
	"area": [object.union(cases.west, {"department": "us-sales"})],
	"grant": [
		object.union(cases.grant, {"key": "s:rep.west@amer"}),
		object.union(cases.glass, {"key": "s:rep.west@amer"}),
	],
}

records := [
	cases.record,
	object.union(cases.record, {"segment": "unassigned"}),
	object.union(cases.record, {"owner": "rep.west@amer"}),
	object.union(cases.record, {"sensitivity": 9, "jurisdiction": "DE"}),
]

test_keepers_read_no_customer if {
	every keeper in keepers {
		every record in records {
			not decision.allowed(cases.ask(keeper, "read"), record, facts, cases.now)
		}
	}
}

# The promises below would be easy to keep if nobody ever reached anything.
test_promises_are_about_something if {
	decision.allowed(cases.ask(cases.rep, "read"), cases.record, {"agreement": [], "area": [], "grant": []}, cases.now)
	decision.shown(cases.ask(cases.emea, "publish"), object.union(cases.record, {"territory": "DE"}), facts, cases.now, "core")
}

# Nobody without a role reaches anything.
test_who_has_no_role_reaches_nothing if {
	every action in actions {
		every record in records {
			nobody := object.union(cases.rep, {"roles": []})
			not decision.allowed(cases.ask(nobody, action), record, facts, cases.now)
		}
	}
}

# Without an agreed jurisdiction nothing leaves, whatever opens it.
test_residency_is_for_every_jurisdiction if {
	every jurisdiction in ["DE", "FR", "CN", "unassigned"] {
		asking := object.union(cases.emea, {"jurisdictions": ["US"]})
		rules.residency(cases.ask(asking, "publish"), object.union(cases.record, {"jurisdiction": jurisdiction}), cases.now)
	}
}

# Another instance gets no group that its contract does not name, whatever opens
# the record. Personal data of a jurisdiction never leaves for another without
# an agreement that says so: the contract is that agreement.
test_contracts_bound_what_leaves if {
	every group in ["commercial", "personal", "plugin_group"] {
		every record in records {
			wide := {"agreement": [object.union(cases.agreement, {"groups": [group]})], "area": [], "grant": []}
			not decision.shown(cases.ask(cases.emea, "publish"), record, wide, cases.now, group)
		}
	}
}

test_nothing_personal_leaves_its_jurisdiction if {
	every jurisdiction in ["FR", "CN", "unassigned"] {
		there := object.union(cases.record, {"jurisdiction": jurisdiction})
		asking := object.union(cases.emea, {"groups": ["core", "commercial", "personal"]})
		not decision.shown(cases.ask(asking, "publish"), there, facts, cases.now, "personal")
	}
}

# A wall and a withholding close every action to everybody they name, whatever
# opens the record.
test_walls_hold_for_every_action if {
	every action in actions {
		every record in records {
			wall := object.union(cases.agreement, {"effect": "wall", "department": "us-sales"})
			not decision.allowed(cases.ask(cases.rep, action), record, object.union(facts, {"agreement": [wall]}), cases.now)
			kept := object.union(cases.grant, {"kind": "withhold", "key": "s:rep.west@amer"})
			not decision.allowed(cases.ask(cases.rep, action), record, object.union(facts, {"grant": [kept]}), cases.now)
		}
	}
}
