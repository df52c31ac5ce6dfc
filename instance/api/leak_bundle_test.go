package api_test

import "strings"

const bundleService = "/meridian.policy.v1.BundleService/"

// bundleWays tries the life of policy: most of it names no record, and what
// names one says nothing of whether it is there.
func bundleWays() map[string]way {
	none := strings.Repeat("0", 64)
	signed := object{"statement": "none", "signature": "bm9uZQ=="}
	files := []any{object{"path": "rules.rego", "text": "package meridian.rules"}}
	out := map[string]way{
		bundleService + "Deny": {false, func(l *leakWorld, s *scenario, a *aim) []probe {
			deny := func(account string) probe {
				return rpc(bundleService+"Deny", object{"account": account, "reason": "r", "for": "60s", "signed": signed})
			}
			return []probe{
				deny(string(a.id)), deny(l.defs[a.entity].Key + ":" + a.key),
				rpc(bundleService+"Deny", object{"subject": s.subject, "reason": "r", "for": "60s", "signed": signed}).general(),
			}
		}},
	}
	for method, bodies := range map[string][]object{
		"GetLife":       {{}, {"limit": 1}},
		"GetFiles":      {{}, {"digest": none}},
		"Examine":       {{"files": files}},
		"Propose":       {{"files": files, "note": "n", "signed": signed}},
		"ProposeKey":    {{"subject": maker, "department": "sales", "signed": signed}},
		"ListProposals": {{}},
		"GetProposal":   {{"id": none}},
		"Approve":       {{"id": none, "signed": signed}},
		"Activate":      {{"id": none}},
		"Rollback":      {{"digest": none, "reason": "r", "signed": signed}},
		"ListKeys":      {{}},
		"RevokeKey":     {{"id": none, "reason": "r", "signed": signed}},
		"ListDenials":   {{}, {"all": true}},
		"EndDenial":     {{"id": none, "reason": "r", "signed": signed}},
		"StartShadow":   {{"digest": none}},
		"GetShadow":     {{}},
		"StopShadow":    {{}},
		"GetPulse":      {{}},
	} {
		var probes []probe
		for _, body := range bodies {
			probes = append(probes, rpc(bundleService+method, body))
		}
		out[bundleService+method] = calls(probes...)
	}
	return out
}
