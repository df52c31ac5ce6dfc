package api_test

func policyWays() map[string]way {
	return map[string]way{
		factService + "ListFacts":      calls(rpc(factService+"ListFacts", object{"kind": "assignment"}), rpc(factService+"ListFacts", object{"kind": "moon"})),
		factService + "GetFactHistory": calls(rpc(factService+"GetFactHistory", object{"kind": "subject", "id": maker})),
		factService + "EditFacts": {false, func(_ *leakWorld, s *scenario, _ *aim) []probe {
			return []probe{rpc(factService+"EditFacts", factEdit(s.subject)).general(), rpc(factService+"EditFacts", object{}).general()}
		}},
		factService + "Reorganise": {false, func(_ *leakWorld, s *scenario, _ *aim) []probe {
			apply := factEdit(s.subject)
			apply["apply"] = true
			return []probe{rpc(factService+"Reorganise", factEdit(s.subject)).general(), rpc(factService+"Reorganise", apply).general()}
		}},
		factService + "Forecast": calls(rpc(factService+"Forecast", object{}), rpc(factService+"Forecast", object{"days": 900})),
		policyService + "Explain": {false, func(l *leakWorld, _ *scenario, a *aim) []probe {
			ask := func(action, subject string) probe {
				return rpc(policyService+"Explain", object{"entity": a.entity, "id": a.id, "action": action, "subject": subject})
			}
			byKey := rpc(policyService+"Explain", object{"entity": a.entity, "id": l.defs[a.entity].Key + ":" + a.key})
			return []probe{byKey, ask("", ""), ask("update", ""), ask("publish", ""), ask("fly", ""), ask("read", string(maker)), ask("", "who@amer")}
		}},
		policyService + "ExplainRecord": {false, func(l *leakWorld, _ *scenario, a *aim) []probe {
			key := l.defs[a.entity].Key
			return []probe{rpc(policyService+"ExplainRecord", object{"entity": a.entity, "id": a.id}), rpc(policyService+"ExplainRecord", object{"entity": a.entity, "id": key + ":" + a.key})}
		}},
		policyService + "ExplainSubject": calls(rpc(policyService+"ExplainSubject", object{"entity": "account"}), rpc(policyService+"ExplainSubject", object{"subject": maker})),
		policyService + "ListAgreements": calls(rpc(policyService+"ListAgreements", object{}), rpc(policyService+"ListAgreements", object{"all": true})),
		policyService + "CreateAgreement": {false, func(l *leakWorld, _ *scenario, a *aim) []probe {
			agree := func(account string) probe {
				return rpc(policyService+"CreateAgreement", object{"agreement": object{"account": account, "department": "nobody", "effect": "open", "document": "d", "reason": "r"}})
			}
			return []probe{agree(string(a.id)), agree(l.defs[a.entity].Key + ":" + a.key)}
		}},
		policyService + "EndAgreement": {false, func(_ *leakWorld, _ *scenario, a *aim) []probe {
			return []probe{rpc(policyService+"EndAgreement", object{"id": a.agreed, "reason": "r"})}
		}},
		policyService + "Judge": {false, func(_ *leakWorld, _ *scenario, a *aim) []probe {
			judge := func(kind, with, reason string, groups ...string) probe {
				return rpc(policyService+"Judge", object{"grant": object{"entity": a.entity, "record": a.id, "kind": kind, "with": with, "reason": reason, "groups": groups}})
			}
			return []probe{
				judge("share", "d:nobody", "r"), judge("withhold", "s:"+string(maker), "r"), judge("withhold", "s:officer@amer", "r"), judge("give", "d:nobody", "r"),
				judge("share", "d:no-such", "r"), judge("share", "x", "r"), judge("share", "d:nobody", ""), judge("share", "d:nobody", "r", "no-such"), judge("share", "d:nobody", "r", "personal"),
			}
		}},
		policyService + "ListGrants": {false, func(l *leakWorld, _ *scenario, a *aim) []probe {
			byKey := rpc(policyService+"ListGrants", object{"entity": a.entity, "record": l.defs[a.entity].Key + ":" + a.key})
			return []probe{byKey, rpc(policyService+"ListGrants", object{"entity": a.entity, "record": a.id}), rpc(policyService+"ListGrants", object{"entity": "lead", "record": a.id})}
		}},
		policyService + "EndGrant": {false, func(_ *leakWorld, _ *scenario, a *aim) []probe {
			return []probe{rpc(policyService+"EndGrant", object{"id": a.grant, "reason": "r"})}
		}},
		policyService + "ReinstateGrant": {false, func(_ *leakWorld, _ *scenario, a *aim) []probe {
			return []probe{rpc(policyService+"ReinstateGrant", object{"id": a.grant, "reason": "r"})}
		}},
		impactService + "Impact": calls(rpc(impactService+"Impact", object{"subjects": []any{maker}}), rpc(impactService+"Impact", object{"candidate": object{"digest": "none"}})),
		impactService + "ImpactRecords": {false, func(_ *leakWorld, s *scenario, a *aim) []probe {
			return []probe{
				rpc(impactService+"ImpactRecords", object{"subject": s.subject, "entity": a.entity}),
				rpc(impactService+"ImpactRecords", object{"subject": maker, "entity": a.entity, "candidate": object{"digest": "none"}}),
			}
		}},
		impactService + "Replay": calls(rpc(impactService+"Replay", object{"since": "2026-01-01T00:00:00Z", "until": "2030-01-01T00:00:00Z"})),
		impactService + "PastSubject": {false, func(_ *leakWorld, s *scenario, a *aim) []probe {
			return []probe{
				rpc(impactService+"PastSubject", object{"subject": s.subject, "entity": a.entity, "at": "2026-01-01T00:00:00Z"}).general(),
				rpc(impactService+"PastSubject", object{"subject": maker, "at": "2026-01-01T00:00:00Z"}).general(),
			}
		}},
		impactService + "PastRecord": {false, func(l *leakWorld, _ *scenario, a *aim) []probe {
			past := func(name string) probe {
				return rpc(impactService+"PastRecord", object{"entity": a.entity, "id": name, "at": "2026-01-01T00:00:00Z"})
			}
			return []probe{past(string(a.id)), past(l.defs[a.entity].Key + ":" + a.key)}
		}},
		auditService + "Verify": empty(auditService + "Verify"),
		auditService + "ListDecisions": {false, func(_ *leakWorld, _ *scenario, a *aim) []probe {
			return []probe{rpc(auditService+"ListDecisions", object{}), rpc(auditService+"ListDecisions", object{"record": a.id})}
		}},
		policyService + "GetBundle":   empty(policyService + "GetBundle"),
		policyService + "TestBundle":  empty(policyService + "TestBundle"),
		policyService + "CheckBundle": empty(policyService + "CheckBundle"),
		policyService + "Eval": {false, func(_ *leakWorld, s *scenario, a *aim) []probe {
			return []probe{
				rpc(policyService+"Eval", object{"entity": a.entity}), rpc(policyService+"Eval", object{"entity": a.entity, "action": "update", "subject": s.subject}),
				rpc(policyService+"Eval", object{"entity": a.entity, "subject": maker}),
			}
		}},
	}
}

// glassWays break no glass that would break: what is opened so is told to who
// opens it, and is meant to be. Where something closes the target all the same
// it must look as if it were not there.
func glassWays() map[string]way {
	return map[string]way{
		glassService + "BreakGlass": {false, func(l *leakWorld, s *scenario, a *aim) []probe {
			opens := func(record, reason string) probe {
				return rpc(glassService+"BreakGlass", object{"entity": a.entity, "record": record, "reason": reason})
			}
			key := l.defs[a.entity].Key + ":" + a.key
			out := []probe{opens(string(a.id), "no"), opens(key, "no")}
			if s.ground != "emergency" || s.cond == walled || s.cond == areaWalled || s.cond == withheld {
				out = append(out, opens(string(a.id), "the matrix asks"), opens(key, "the matrix asks"))
			}
			return out
		}},
		glassService + "ListEmergencies": {false, func(_ *leakWorld, s *scenario, _ *aim) []probe {
			if s.ground == "emergency" { // their own they may list, with ids
				return []probe{rpc(glassService+"ListEmergencies", object{"subject": maker}).general()}
			}
			return []probe{rpc(glassService+"ListEmergencies", object{}).general(), rpc(glassService+"ListEmergencies", object{"subject": maker}).general()}
		}},
		glassService + "EndEmergency": {false, func(_ *leakWorld, _ *scenario, a *aim) []probe {
			return []probe{rpc(glassService+"EndEmergency", object{"id": a.grant, "reason": "r"})}
		}},
		glassService + "ReviewEmergency": {false, func(_ *leakWorld, _ *scenario, a *aim) []probe {
			return []probe{rpc(glassService+"ReviewEmergency", object{"id": a.grant, "verdict": "justified", "reason": "r"})}
		}},
	}
}
