# Residency: a record never leaves for an instance that may not hold data of the
# record's jurisdiction, whatever opens it.
package meridian.rules

residency(ask, record, _) if {
	ask.action == "publish"
	not "*" in ask.subject.jurisdictions
	not record.jurisdiction in ask.subject.jurisdictions
}
