# What a role may do at most. The grounds decide on which records.
package meridian.rules

role_actions := {
	"rep": {"create", "read", "update", "delete", "share", "withhold"},
	"manager": {"create", "read", "update", "delete", "share", "withhold"},
	"reader": {"read"},
}

# Officers, ops, integrators and loaders have none of these roles: no ground
# below shows them a record.
permitted(ask) if {
	ask.subject.kind != "instance"
	some role in ask.subject.roles
	ask.action in role_actions[role]
}

# Another instance asks for one thing only: to hold records.
permitted(ask) if {
	ask.subject.kind == "instance"
	ask.action == "publish"
}

# To judge a record (share it, withhold it) one must be able to read it.
needed(ask) := "read" if ask.action in {"share", "withhold"}

needed(ask) := ask.action if not ask.action in {"share", "withhold"}

# A fact holds from its first instant up to, but not at, its last.
in_force(fact, now) if {
	fact.valid_from <= now
	now < fact.valid_to
}

# A fact shows the groups it lists, or the core group if it lists none.
lists(fact, group) if group in fact.groups

lists(fact, "core") if fact.groups == []

# Whatever opens a record to another instance, only groups of its contract go.
within_contract(ask, _) if ask.subject.kind != "instance"

within_contract(ask, group) if group in ask.subject.groups
