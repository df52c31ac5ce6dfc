package meridian.limits_test

import data.meridian.limits

rep := {"id": "rep@amer", "kind": "person", "roles": ["rep"]}

grant := {"kind": "share", "days": 30, "groups": ["core"], "own": false, "roles": ["rep"]}

beyond(giver, change) := {limit |
	some limit, _ in limits.judgement_limits
	limits.judgement_beyond(limit, giver, object.union(grant, change))
}

edited(about) := {limit |
	some limit, _ in limits.edit_limits
	limits.edit_beyond(limit, {"id": "officer.a@amer"}, {"kind": "subject", "subject": about})
}

test_colleagues_judge if {
	beyond(rep, {}) == set()
	beyond(rep, {"kind": "withhold", "days": limits.judgements.longest_days}) == set()
}

test_nothing_is_withheld_from_officers if {
	beyond(rep, {"kind": "withhold", "roles": ["reader", "officer"]}) == {"officer"}
	beyond(rep, {"roles": ["officer"]}) == set()
}

test_judgements_end if beyond(rep, {"days": limits.judgements.longest_days + 1}) == {"long"}

test_a_judgement_is_about_somebody_else if beyond(rep, {"own": true}) == {"own"}

test_services_do_not_judge if beyond(object.union(rep, {"kind": "service"}), {}) == {"person"}

test_officers_record_facts_about_others if {
	edited("rep@amer") == set()
	edited("") == set()
	edited("officer.a@amer") == {"own"}
}

broken(who, change) := {limit |
	some limit, _ in limits.emergency_limits
	limits.emergency_beyond(limit, who, object.union({"minutes": 60, "reason": 10, "open": 4, "day": 19}, change))
}

test_glass_is_broken_within_limits if {
	broken(rep, {}) == set()
	broken(rep, {"minutes": 61}) == {"long"}
	broken(rep, {"reason": 9}) == {"reason"}
	broken(rep, {"open": 5}) == {"open"}
	broken(rep, {"day": 20}) == {"day"}
	broken(object.union(rep, {"kind": "service"}), {}) == {"person"}
}
