package crm

// Permission is what a subject may do that is not about one record.
type Permission struct {
	Name string // as policy is asked
	Text string // what it lets do, for who decides about it
}

// Permissions are all that this service ever asks policy for, those first that
// reach furthest.
func Permissions() []Permission {
	return []Permission{
		{"policy.propose", "ask a second officer to change the policy or let in a key, and try a policy on live reads"},
		{"policy.approve", "be the second officer, with an enrolled key of their own; revoke keys"},
		{"policy.activate", "put an approved policy in force, and roll back with an enrolled key"},
		{"policy.deny", "close records at once and end that, with an enrolled key"},
		{"fact.write", "change trees, departments, roles and assignments of everybody"},
		{"agreement.write", "make and end agreements and walls, and end colleagues' judgements"},
		{"breakglass", "read a closed record in an emergency"},
		{"breakglass.review", "see and review what was read in emergencies"},
		{"audit.read", "see who looked at what"},
		{"audit.past", "see what anybody could see on a past date"},
		{"explain.any", "ask who can see a record and what anybody can see"},
		{"policy.impact", "count what a policy would show to anybody"},
		{"policy.test", "run the tests of a policy"},
		{"policy.read", "read the policy, its history and officers' keys"},
		{"fact.read", "see trees, departments, roles and assignments of everybody"},
		{"agreement.read", "see all agreements and judgements"},
		{"load.run", "load records from other systems"},
		{"load.read", "see all loads"},
		{"exchange.read", "see what left for other instances and what came, as ids"},
		{"plugin.read", "see which plugins run"},
		{"instance.read", "see the health of the instance"},
		{"schema.read", "see which entities and fields there are"},
	}
}
