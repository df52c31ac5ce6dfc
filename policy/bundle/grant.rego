# Grounds by judgement: an employee shares one record with a colleague or a
# department, or withholds it. A grant names its subject by key:
# "s:<subject>" or "d:<department>". It is suspended when its giver loses access.
package meridian.rules

share(ask, _, fact, now) if {
	permitted(ask)
	needed(ask) == "read"
	judged(ask, "share", fact, now)
}

share_reveals(_, _, fact, _, group) if lists(fact, group)

withhold(ask, _, fact, now) if judged(ask, "withhold", fact, now)

judged(ask, kind, fact, now) if {
	fact.kind == kind
	fact.key in ask.subject.keys
	fact.suspended == false
	in_force(fact, now)
}
