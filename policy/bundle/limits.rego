# Limits of what people may say about access, beside what they may see. Judgements
# are what employees say about one record: share it, withhold it. Edits are what
# officers say about people, trees and departments.
#
# Each limit has a name, with the field at fault and the words that people read,
# and a function that says yes when it is overstepped. What oversteps none may be
# said.
package meridian.limits

# A judgement without an end holds for default_days, and none for longer than
# longest_days: who still means it after a year says so again.
judgements := {"default_days": 30, "longest_days": 365}

judgement_limits := {
	"person": {"field": "", "text": "a judgement is a person's; a service gives none"},
	"officer": {"field": "with", "text": "nothing is withheld from officers, nor from a department that has one: they supervise access; name colleagues one by one"},
	"own": {"field": "with", "text": "a judgement is about somebody else; name a colleague or another department"},
	"long": {"field": "to", "text": "a judgement does not hold for so long; give an earlier end, and judge again when it is over"},
}

# The limits that a judgement oversteps.
#
#   giver  the subject who judges
#   grant  kind (share, withhold), days it would hold, groups it reveals; of whom
#          it names: own (whether that is the giver) and roles (the subject's, or
#          all that members of the department have)
judgement_beyond(limit, giver, _) if {
	limit == "person"
	giver.kind != "person"
}

judgement_beyond(limit, _, grant) if {
	limit == "officer"
	grant.kind == "withhold"
	"officer" in grant.roles
}

judgement_beyond(limit, _, grant) if {
	limit == "own"
	grant.own == true
}

judgement_beyond(limit, _, grant) if {
	limit == "long"
	grant.days > judgements.longest_days
}

edit_limits := {"own": {"field": "subject", "text": "nobody decides about their own access; ask another officer"}}

# The limits that an edit of facts oversteps.
#
#   officer  the subject who edits
#   edit     kind (subject, territory, segment, department), and subject: whom it
#            is about, if anybody
edit_beyond(limit, officer, edit) if {
	limit == "own"
	edit.subject == officer.id
}
