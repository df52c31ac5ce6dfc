# Grounds by where a customer is and what it does.
package meridian.rules

# Territory AND segment AND clearance, all three. The subject's territories and
# segments hold every id below the assigned ones. For another instance they are
# the scope of its contract.
territory(ask, record, _) if {
	permitted(ask)
	record.territory in ask.subject.territories
	record.segment in ask.subject.segments
	cleared(ask, record)
}

territory_reveals(ask, _, _, group) if within_contract(ask, group)

# Who is assigned to the whole segment tree looks after the records that nobody
# has placed in a segment yet.
steward(ask, record, _) if {
	permitted(ask)
	ask.action != "publish"
	ask.subject.all_segments
	record.segment == "unassigned"
	record.territory in ask.subject.territories
	cleared(ask, record)
}

steward_reveals(_, _, _, _) := true

cleared(ask, record) if record.sensitivity <= ask.subject.clearance

# The catalogue is reference data: whoever reads records at all reads it,
# managers keep it.
catalogue_entities := {"product"}

catalogue(ask, _, _) if {
	ask.entity in catalogue_entities
	permitted(ask)
	ask.action == "read"
}

catalogue(ask, _, _) if {
	ask.entity in catalogue_entities
	permitted(ask)
	ask.action in {"create", "update", "delete"}
	"manager" in ask.subject.roles
}

catalogue_reveals(_, _, _, _) := true

# Loads write at home and read nothing.
load(ask, record, _) if {
	"loader" in ask.subject.roles
	ask.action in {"create", "update"}
	record.home == ask.subject.instance
}

load_reveals(_, _, _, _) := true
