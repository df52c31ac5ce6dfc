# Ground by department: one department works on another's records.
package meridian.rules

relationship(ask, record, _) if {
	permitted(ask)
	needed(ask) in {"read", "update"}
	record.department in departments(ask)
}

# The departments whose records the subject may do the action on.
departments(ask) := {rel.department |
	some rel in ask.subject.relationships
	needed(ask) in rel.actions
}

relationship_reveals(_, _, _, "core") := true

# What the business amounts to they see roughly.
relationship_masks(_, _, _, "commercial") := true
