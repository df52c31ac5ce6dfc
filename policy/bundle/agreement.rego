# Grounds by agreement: a dated paper opens an account to a department, or walls
# it off. A department of another instance is named <instance>/<department>.
package meridian.rules

agreement(ask, _, fact, now) if {
	permitted(ask)
	needed(ask) in {"read", "update", "publish"}
	fact.effect == "open"
	fact.department in ask.subject.departments
	covers(fact, needed(ask))
	in_force(fact, now)
}

agreement_reveals(ask, _, fact, _, group) if {
	lists(fact, group)
	within_contract(ask, group)
}

# An agreement covers the actions it lists; reading and publishing if it lists
# none.
covers(fact, action) if action in fact.actions

covers(fact, action) if {
	action in {"read", "publish"}
	fact.actions == []
}

# A wall closes every action to everybody in the department, whatever else opens
# the record.
wall(ask, _, fact, now) if {
	fact.effect == "wall"
	fact.department in ask.subject.departments
	in_force(fact, now)
}
