# Grounds by agreement about an area: a dated paper opens all records of a
# territory, of a segment or of another department, or of what lies in all of
# these, to a department, or walls them off. The agreement's territories and
# segments hold every id below the agreed ones.
package meridian.rules

area(ask, record, fact, now) if {
	permitted(ask)
	needed(ask) in {"read", "update", "publish"}
	fact.effect == "open"
	fact.department in ask.subject.departments
	covers(fact, needed(ask))
	lies_in(record, fact)
	in_force(fact, now)
}

area_reveals(ask, _, fact, _, group) if {
	lists(fact, group)
	within_contract(ask, group)
}

area_wall(ask, record, fact, now) if {
	fact.effect == "wall"
	fact.department in ask.subject.departments
	lies_in(record, fact)
	in_force(fact, now)
}

lies_in(record, fact) if {
	in_territory(record, fact)
	in_segment(record, fact)
	on_department(record, fact)
}

in_territory(_, fact) if fact.any_territory

in_territory(record, fact) if record.territory in fact.territories

in_segment(_, fact) if fact.any_segment

in_segment(record, fact) if record.segment in fact.segments

on_department(_, fact) if fact.on_department == ""

on_department(record, fact) if {
	fact.on_department != ""
	record.department == fact.on_department
}
