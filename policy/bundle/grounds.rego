# The rules of access, for compliance officers.
#
# One sentence: a record opens by (territory AND segment AND clearance), OR by a
# department relationship, OR by an agreement about the account or about its
# area, OR by a colleague's share, OR by breaking the glass for an hour; any wall
# or withhold wins, and nothing leaves for a jurisdiction that is not agreed. The
# sentence holds on every path: list, get, count, history, watch, write and
# exchange with other instances.
#
# How to read and change it
#
# Every ground is a function that looks at one record, and at most one fact, and
# says yes or nothing. It is given
#
#   ask     who asks and for what: ask.subject, ask.action, ask.entity
#   record  the record's governance: id, home, territory, segment, department,
#           owner, account, sensitivity, jurisdiction, pinned, withheld, created,
#           updated; and record.fields.<name>, the fields of its entity. An empty
#           field is null, which comes before every value: `amount < 1000` holds
#           for it, so say `amount != null` too. If not every entity has the
#           field, say `ask.entity == ...` first
#   fact    one agreement or one grant about the record (or about its account),
#           or one area: an agreement about all records of an area
#   now     the database's time
#
# and `<ground>_reveals` says which field groups the ground shows. If there is a
# `<ground>_masks`, it says which groups the ground shows masked to people who
# read: what is left of a field its mask says (`last_four`, `year`, `band`, or
# nothing). The system itself looks for "any fact such that ...": a rule never
# searches. It turns the functions into database filters and refuses a rule that
# it cannot turn into one, so keep to comparisons, `in`, `not` and functions of
# your own.
package meridian.rules

# The grounds there are. A record is reached when one that opens says yes and
# none that closes does. `fact` names the kind of fact a ground looks at.
grounds := {
	"territory": {"effect": "opens", "text": "the record lies in the subject's territories and segments, within its clearance"},
	"steward": {"effect": "opens", "text": "the record has no segment yet and lies in the territories of a steward of all segments"},
	"catalogue": {"effect": "opens", "text": "the record belongs to the instance's catalogue"},
	"load": {"effect": "opens", "text": "the loader writes records of this instance"},
	"relationship": {"effect": "opens", "text": "the subject's department works for the record's department"},
	"agreement": {"effect": "opens", "fact": "agreement", "text": "an agreement in force opens the account to the subject's department"},
	"area": {"effect": "opens", "fact": "area", "text": "an agreement in force opens the area the record lies in to the subject's department"},
	"share": {"effect": "opens", "fact": "grant", "text": "a colleague shared the record with the subject"},
	"emergency": {"effect": "opens", "fact": "grant", "text": "the subject broke the glass to read this record for a while"},
	"wall": {"effect": "closes", "fact": "agreement", "text": "an agreement in force walls the account off from the subject's department"},
	"area_wall": {"effect": "closes", "fact": "area", "text": "an agreement in force walls the area the record lies in off from the subject's department"},
	"withhold": {"effect": "closes", "fact": "grant", "text": "a colleague withheld the record from the subject"},
	"residency": {"effect": "closes", "text": "the record's jurisdiction is not one the destination may hold"},
}
