# Examples of every ground, for people to read and for machines to check before
# a bundle is activated.
package meridian.rules_test

import data.meridian.rules

# People -----------------------------------------------------------------------

rep := {
	"id": "rep.west@amer", "kind": "person", "instance": "amer", "roles": ["rep"], "clearance": 2,
	"territories": ["US-W", "US-CA"], "segments": ["all", "Financials", "Energy"], "all_segments": true,
	"departments": ["us-sales"], "relationships": [], "keys": ["s:rep.west@amer", "d:us-sales"],
	"groups": [], "jurisdictions": [], "purpose": "",
}

banker := object.union(rep, {
	"id": "banker@finserv", "instance": "finserv", "roles": ["reader"],
	"territories": ["001", "US-CA"], "segments": ["Financials"], "all_segments": false,
	"departments": ["banking"], "keys": ["s:banker@finserv", "d:banking"],
	"relationships": [{"department": "advisory", "actions": ["read", "update"]}],
})

loader := object.union(rep, {"id": "loader@amer", "kind": "service", "roles": ["loader"], "territories": [], "segments": [], "all_segments": false})

officer := object.union(rep, {"id": "officer.a@amer", "roles": ["officer"]})

# emea as amer's contract sees it.
emea := {
	"id": "emea", "kind": "instance", "instance": "emea", "roles": [], "clearance": 0,
	"territories": ["DE"], "segments": ["Financials"], "all_segments": false,
	"departments": ["emea/dach-sales"], "relationships": [], "keys": ["d:emea/dach-sales"],
	"groups": ["core"], "jurisdictions": ["US", "DE"], "purpose": "joint accounts",
}

ask(subject, action) := {"subject": subject, "action": action, "entity": "account"}

# Records and facts --------------------------------------------------------------

record := {
	"id": "018f0000-0000-7000-8000-000000000001", "home": "amer", "territory": "US-CA", "segment": "Financials",
	"department": "unassigned", "owner": "unassigned", "account": "018f0000-0000-7000-8000-000000000001",
	"sensitivity": 0, "jurisdiction": "US", "pinned": false, "withheld": [],
	"created": "2026-01-01T00:00:00.000000Z", "updated": "2026-01-01T00:00:00.000000Z",
}

now := "2026-03-01T12:00:00.000000Z"

agreement := {
	"account": record.account, "department": "emea/dach-sales", "effect": "open", "actions": [], "groups": [],
	"valid_from": "2026-01-01T00:00:00.000000Z", "valid_to": "2026-06-01T00:00:00.000000Z",
}

grant := {
	"record": record.id, "kind": "share", "key": "s:banker@finserv", "groups": ["core", "commercial"], "suspended": false,
	"valid_from": "2026-01-01T00:00:00.000000Z", "valid_to": "2026-06-01T00:00:00.000000Z",
}

# Territory AND segment AND clearance ----------------------------------------------

test_territory_opens_when_all_three_match if {
	every action in ["create", "read", "update", "delete", "share", "withhold"] {
		rules.territory(ask(rep, action), record, now)
	}
}

test_territory_needs_the_territory if not rules.territory(ask(rep, "read"), object.union(record, {"territory": "US-NY"}), now)

test_territory_needs_the_segment if not rules.territory(ask(banker, "read"), object.union(record, {"segment": "Energy"}), now)

test_territory_needs_the_clearance if {
	rules.territory(ask(rep, "read"), object.union(record, {"sensitivity": 2}), now)
	not rules.territory(ask(rep, "read"), object.union(record, {"sensitivity": 3}), now)
}

test_territory_lets_readers_only_read if {
	rules.territory(ask(banker, "read"), record, now)
	every action in ["create", "update", "delete", "share", "withhold", "publish"] {
		not rules.territory(ask(banker, action), record, now)
	}
}

test_territory_is_nothing_to_officers_and_loaders if {
	not rules.territory(ask(officer, "read"), record, now)
	not rules.territory(ask(loader, "read"), record, now)
}

test_territory_reveals_all_groups_at_home if {
	every group in ["core", "commercial", "personal", "plugin_group"] {
		rules.territory_reveals(ask(rep, "read"), record, now, group)
	}
}

# Steward, catalogue, load -----------------------------------------------------------

unplaced := object.union(record, {"segment": "unassigned"})

test_steward_sees_what_has_no_segment if rules.steward(ask(rep, "create"), unplaced, now)

test_steward_is_for_all_segments_only if not rules.steward(ask(banker, "read"), unplaced, now)

test_steward_keeps_to_its_territories if not rules.steward(ask(rep, "read"), object.union(unplaced, {"territory": "US-NY"}), now)

test_steward_sees_nothing_that_is_placed if not rules.steward(ask(rep, "read"), record, now)

test_steward_reveals_all_groups if rules.steward_reveals(ask(rep, "read"), unplaced, now, "personal")

product(subject, action) := {"subject": subject, "action": action, "entity": "product"}

test_catalogue_is_read_by_whoever_reads if {
	rules.catalogue(product(rep, "read"), record, now)
	rules.catalogue(product(banker, "read"), record, now)
	not rules.catalogue(product(officer, "read"), record, now)
	not rules.catalogue(ask(rep, "read"), record, now)
}

test_catalogue_is_kept_by_managers if {
	rules.catalogue(product(object.union(rep, {"roles": ["manager"]}), "create"), record, now)
	not rules.catalogue(product(rep, "create"), record, now)
}

test_catalogue_reveals_all_groups if rules.catalogue_reveals(product(rep, "read"), record, now, "core")

test_load_writes_at_home_and_reads_nothing if {
	rules.load(ask(loader, "create"), record, now)
	rules.load(ask(loader, "update"), record, now)
	not rules.load(ask(loader, "read"), record, now)
	not rules.load(ask(loader, "delete"), record, now)
	not rules.load(ask(loader, "update"), object.union(record, {"home": "emea"}), now)
	not rules.load(ask(rep, "create"), record, now)
}

test_load_reveals_all_groups if rules.load_reveals(ask(loader, "update"), record, now, "personal")

# Relationship --------------------------------------------------------------------

advised := object.union(record, {"department": "advisory", "territory": "JP"})

test_relationship_opens_the_departments_records if rules.relationship(ask(banker, "read"), advised, now)

test_relationship_keeps_to_its_actions if {
	reader := object.union(rep, {"relationships": [{"department": "advisory", "actions": ["read"]}]})
	writer := object.union(rep, {"relationships": [{"department": "advisory", "actions": ["read", "update", "delete"]}]})
	not rules.relationship(ask(reader, "update"), advised, now)
	rules.relationship(ask(reader, "share"), advised, now) # whoever reads may judge
	rules.relationship(ask(writer, "update"), advised, now)
	not rules.relationship(ask(writer, "delete"), advised, now) # no relationship deletes
}

test_relationship_is_not_for_other_departments if not rules.relationship(ask(banker, "read"), record, now)

test_relationship_reveals_the_core if {
	rules.relationship_reveals(ask(banker, "read"), advised, now, "core")
	not rules.relationship_reveals(ask(banker, "read"), advised, now, "commercial")
}

test_relationship_masks_the_commercial_group if {
	rules.relationship_masks(ask(banker, "read"), advised, now, "commercial")
	not rules.relationship_masks(ask(banker, "read"), advised, now, "personal")
}

# Agreements -----------------------------------------------------------------------

local := object.union(agreement, {"department": "banking"})

test_agreement_opens_to_the_department if {
	rules.agreement(ask(banker, "read"), record, local, now)
	rules.agreement(ask(emea, "publish"), record, agreement, now)
	not rules.agreement(ask(banker, "read"), record, agreement, now)
}

test_agreement_holds_from_its_start_until_before_its_end if {
	rules.agreement(ask(banker, "read"), record, local, local.valid_from)
	not rules.agreement(ask(banker, "read"), record, local, "2025-12-31T23:59:59.999999Z")
	rules.agreement(ask(banker, "read"), record, local, "2026-05-31T23:59:59.999999Z")
	not rules.agreement(ask(banker, "read"), record, local, local.valid_to)
}

test_agreement_covers_what_it_lists if {
	manager := object.union(banker, {"roles": ["manager"]})
	update := object.union(local, {"actions": ["read", "update"]})
	rules.agreement(ask(manager, "update"), record, update, now)
	not rules.agreement(ask(manager, "update"), record, local, now)
	not rules.agreement(ask(banker, "update"), record, update, now) # a reader stays a reader
	not rules.agreement(ask(emea, "publish"), record, object.union(agreement, {"actions": ["read"]}), now)
}

test_agreement_reveals_what_it_lists_or_the_core if {
	rules.agreement_reveals(ask(banker, "read"), record, local, now, "core")
	not rules.agreement_reveals(ask(banker, "read"), record, local, now, "commercial")
	rules.agreement_reveals(ask(banker, "read"), record, object.union(local, {"groups": ["commercial"]}), now, "commercial")
	not rules.agreement_reveals(ask(banker, "read"), record, object.union(local, {"groups": ["commercial"]}), now, "core")
}

test_agreement_publishes_groups_of_the_contract_only if {
	wide := object.union(agreement, {"groups": ["core", "personal"]})
	rules.agreement_reveals(ask(emea, "publish"), record, wide, now, "core")
	not rules.agreement_reveals(ask(emea, "publish"), record, wide, now, "personal")
}

test_wall_closes_to_its_department_alone if {
	wall := object.union(local, {"effect": "wall"})
	every action in ["read", "create", "update", "delete", "share", "publish"] {
		rules.wall(ask(banker, action), record, wall, now)
	}
	not rules.wall(ask(rep, "read"), record, wall, now)
	not rules.wall(ask(banker, "read"), record, local, now)
	not rules.wall(ask(banker, "read"), record, wall, wall.valid_to)
	not rules.agreement(ask(banker, "read"), record, wall, now)
}

# Agreements about areas -------------------------------------------------------------

west := {
	"department": "banking", "effect": "open", "actions": [], "groups": [],
	"any_territory": false, "territories": ["US-W", "US-CA"], "any_segment": true, "segments": [], "on_department": "",
	"valid_from": "2026-01-01T00:00:00.000000Z", "valid_to": "2026-06-01T00:00:00.000000Z",
}

test_area_opens_what_lies_in_it if {
	rules.area(ask(banker, "read"), record, west, now)
	not rules.area(ask(banker, "read"), object.union(record, {"territory": "US-NY"}), west, now)
	not rules.area(ask(rep, "read"), record, west, now)
	not rules.area(ask(officer, "read"), record, object.union(west, {"department": "us-sales"}), now)
	rules.area(ask(emea, "publish"), record, object.union(west, {"department": "emea/dach-sales"}), now)
}

test_area_needs_all_it_names if {
	narrow := object.union(west, {"any_segment": false, "segments": ["Energy"]})
	not rules.area(ask(banker, "read"), record, narrow, now)
	rules.area(ask(banker, "read"), object.union(record, {"segment": "Energy"}), narrow, now)
	not rules.area(ask(banker, "read"), object.union(record, {"segment": "Energy", "territory": "US-NY"}), narrow, now)
}

test_area_may_be_a_departments_records if {
	theirs := object.union(west, {"any_territory": true, "territories": [], "on_department": "advisory"})
	rules.area(ask(banker, "read"), advised, theirs, now)
	not rules.area(ask(banker, "read"), record, theirs, now)
	not rules.area(ask(banker, "read"), object.union(advised, {"territory": "JP"}), object.union(theirs, {"any_territory": false}), now)
}

test_area_holds_from_its_start_until_before_its_end if {
	rules.area(ask(banker, "read"), record, west, west.valid_from)
	not rules.area(ask(banker, "read"), record, west, "2025-12-31T23:59:59.999999Z")
	not rules.area(ask(banker, "read"), record, west, west.valid_to)
}

test_area_covers_what_it_lists if {
	manager := object.union(banker, {"roles": ["manager"]})
	update := object.union(west, {"actions": ["read", "update"]})
	rules.area(ask(manager, "update"), record, update, now)
	not rules.area(ask(manager, "update"), record, west, now)
	not rules.area(ask(manager, "delete"), record, object.union(west, {"actions": ["delete"]}), now)
	not rules.area(ask(banker, "update"), record, update, now) # a reader stays a reader
}

test_area_reveals_what_it_lists_or_the_core if {
	rules.area_reveals(ask(banker, "read"), record, west, now, "core")
	not rules.area_reveals(ask(banker, "read"), record, west, now, "commercial")
	rules.area_reveals(ask(banker, "read"), record, object.union(west, {"groups": ["commercial"]}), now, "commercial")
	not rules.area_reveals(ask(emea, "publish"), record, object.union(west, {"groups": ["personal"]}), now, "personal")
}

test_area_wall_closes_what_lies_in_it if {
	wall := object.union(west, {"effect": "wall"})
	every action in ["read", "create", "update", "delete", "share", "publish"] {
		rules.area_wall(ask(banker, action), record, wall, now)
	}
	not rules.area_wall(ask(banker, "read"), object.union(record, {"territory": "US-NY"}), wall, now)
	not rules.area_wall(ask(rep, "read"), record, wall, now)
	not rules.area_wall(ask(banker, "read"), record, west, now)
	not rules.area_wall(ask(banker, "read"), record, wall, wall.valid_to)
	not rules.area(ask(banker, "read"), record, wall, now)
}

# Judgement ------------------------------------------------------------------------

test_share_opens_to_whom_it_names if {
	rules.share(ask(banker, "read"), record, grant, now)
	rules.share(ask(banker, "read"), record, object.union(grant, {"key": "d:banking"}), now)
	not rules.share(ask(rep, "read"), record, grant, now)
	not rules.share(ask(banker, "update"), record, grant, now)
	not rules.share(ask(banker, "read"), record, grant, grant.valid_to)
	not rules.share(ask(banker, "read"), record, object.union(grant, {"suspended": true}), now)
	not rules.share(ask(emea, "publish"), record, object.union(grant, {"key": "d:emea/dach-sales"}), now)
}

test_share_reveals_what_it_lists_or_the_core if {
	rules.share_reveals(ask(banker, "read"), record, grant, now, "commercial")
	not rules.share_reveals(ask(banker, "read"), record, grant, now, "personal")
	rules.share_reveals(ask(banker, "read"), record, object.union(grant, {"groups": []}), now, "core")
}

test_withhold_closes_to_whom_it_names if {
	kept := object.union(grant, {"kind": "withhold"})
	rules.withhold(ask(banker, "read"), record, kept, now)
	rules.withhold(ask(emea, "publish"), record, object.union(kept, {"key": "d:emea/dach-sales"}), now)
	not rules.withhold(ask(rep, "read"), record, kept, now)
	not rules.withhold(ask(banker, "read"), record, grant, now)
	not rules.withhold(ask(banker, "read"), record, object.union(kept, {"suspended": true}), now)
	not rules.share(ask(banker, "read"), record, kept, now)
}

# Break-glass ----------------------------------------------------------------------

chief := object.union(banker, {"roles": ["manager"]})

glass := object.union(grant, {"kind": "emergency", "groups": []})

test_emergency_is_read_by_who_broke_the_glass if {
	rules.emergency(ask(chief, "read"), record, glass, now)
	rules.emergency_reveals(ask(chief, "read"), record, glass, now, "personal")
	not rules.emergency(ask(object.union(chief, {"keys": ["s:another"]}), "read"), record, glass, now)
	not rules.emergency(ask(banker, "read"), record, glass, now) # who may not break it any more
	not rules.emergency(ask(chief, "read"), record, grant, now)
	not rules.share(ask(chief, "read"), record, glass, now)
}

test_emergency_is_for_reading_alone if {
	every action in ["create", "update", "delete", "share", "withhold", "publish"] {
		not rules.emergency(ask(chief, action), record, glass, now)
	}
}

test_emergency_is_about_one_record if not rules.emergency(ask(chief, "read"), object.union(record, {"id": "another"}), glass, now)

test_emergency_ends if {
	not rules.emergency(ask(chief, "read"), record, glass, glass.valid_to)
	not rules.emergency(ask(chief, "read"), record, object.union(glass, {"suspended": true}), now)
}

# Exchange -------------------------------------------------------------------------

german := object.union(record, {"territory": "DE", "jurisdiction": "DE"})

test_publish_follows_the_contracts_scope if {
	rules.territory(ask(emea, "publish"), german, now)
	not rules.territory(ask(emea, "publish"), record, now)
	not rules.territory(ask(emea, "read"), german, now)
	not rules.territory(ask(rep, "publish"), record, now)
}

test_publish_reveals_the_contracts_groups if {
	rules.territory_reveals(ask(emea, "publish"), german, now, "core")
	not rules.territory_reveals(ask(emea, "publish"), german, now, "personal")
}

test_residency_closes_other_jurisdictions if {
	rules.residency(ask(emea, "publish"), object.union(german, {"jurisdiction": "JP"}), now)
	not rules.residency(ask(emea, "publish"), german, now)
	not rules.residency(ask(object.union(emea, {"jurisdictions": ["*"]}), "publish"), object.union(german, {"jurisdiction": "JP"}), now)
	rules.residency(ask(object.union(emea, {"jurisdictions": []}), "publish"), german, now)
	not rules.residency(ask(rep, "read"), object.union(record, {"jurisdiction": "JP"}), now)
}
