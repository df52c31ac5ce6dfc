# Limits of what people may say about access, beside what they may see. Judgements
# are what employees say about one record: share it, withhold it. Edits are what
# officers say about people, trees and departments. Emergencies are what people
# open to themselves for a while.
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

# Breaking the glass: for how long at most, how many records one person may hold
# open at once and open in a day, and how many characters a reason has at least.
emergencies := {"longest_minutes": 60, "open_at_once": 5, "in_a_day": 20, "reason": 10}

emergency_limits := {
	"person": {"field": "", "text": "only a person breaks the glass"},
	"long": {"field": "for", "text": "the glass is broken for an hour at most; who still needs the record then breaks it again"},
	"reason": {"field": "reason", "text": "say in a sentence why it cannot wait; an officer reads it"},
	"open": {"field": "", "text": "you hold as many records open as one may; end one first (meridian breakglass list)"},
	"day": {"field": "", "text": "you have opened as many records today as one may; ask an officer for an agreement"},
}

# The limits that breaking the glass oversteps.
#
#   person   who breaks it
#   opening  minutes it would hold, reason (its length in characters), open and
#            day: the records they hold open now and opened in the last 24 hours
emergency_beyond(limit, person, _) if {
	limit == "person"
	person.kind != "person"
}

emergency_beyond(limit, _, opening) if {
	limit == "long"
	opening.minutes > emergencies.longest_minutes
}

emergency_beyond(limit, _, opening) if {
	limit == "reason"
	opening.reason < emergencies.reason
}

emergency_beyond(limit, _, opening) if {
	limit == "open"
	opening.open >= emergencies.open_at_once
}

emergency_beyond(limit, _, opening) if {
	limit == "day"
	opening.day >= emergencies.in_a_day
}
