package api

import (
	"strconv"

	"meridian/instance/crm"
)

// entityPaths adds the paths of one entity.
func entityPaths(paths m, d crm.Definition) {
	base, record := restPrefix+d.Entity, ref("schemas", d.Entity)
	one := closed(m{"record": record}, "record")
	newRecord := closed(m{
		"fields": ref("schemas", d.Entity+"_fields"), "territory": text("Pins the territory."), "segment": text("Pins the segment."),
		"department": text(""), "sensitivity": m{"type": "integer", "minimum": 0, "maximum": 9},
	}, "fields")
	filter := query("filter", "For example: country = 'US' and annual_revenue >= 1000000. Operators: = != < <= > >= in contains and or not \"is null\".", text(""))

	paths[base] = m{
		"get": operation(d, "list", "A page of the records you may see",
			[]any{filter, query("sort", "Fields, - first for descending: -annual_revenue,name", text("")),
				query("limit", "50 if absent; above 1000 is 1000.", m{"type": "integer", "minimum": 1, "default": 50}),
				query("cursor", "next_cursor of the page before.", text(""))}, nil,
			200, closed(m{"records": m{"type": "array", "items": record}, "next_cursor": text("Empty on the last page.")}, "records", "next_cursor"),
			crm.Invalid),
		"post": created(operation(d, "create", "Create one record, or many that fail independently",
			[]any{idempotency()},
			m{"oneOf": []any{newRecord, closed(m{"records": m{"type": "array", "items": newRecord, "maxItems": maxBatch}, "atomic": m{"type": "boolean"}}, "records")}},
			200, closed(m{"results": m{"type": "array", "items": m{"oneOf": []any{one, closed(m{"error": ref("schemas", "problem")}, "error")}}}}, "results"),
			crm.Invalid, crm.Denied, crm.Conflict, crm.Unavailable), one),
	}
	paths[base+":count"] = m{"get": operation(d, "count", "How many records you may see", []any{filter}, nil,
		200, closed(m{"count": m{"type": "integer", "format": "int64"}, "exact": m{"type": "boolean"}}, "count", "exact"), crm.Invalid)}
	paths[base+":search"] = m{"get": operation(d, "search", "Find records by their words in what you may see, best match first",
		[]any{required(query("q", `Words that must all occur, the last one also as a beginning; "words in quotes" stand together, -word must not occur.`, text(""))), filter,
			query("limit", "50 if absent; above 1000 is 1000.", m{"type": "integer", "minimum": 1, "default": 50}),
			query("cursor", "next_cursor of the page before.", text(""))}, nil,
		200, closed(m{"records": m{"type": "array", "items": record}, "next_cursor": text("Empty on the last page.")}, "records", "next_cursor"), crm.Invalid)}
	aggregationPaths(paths, d, filter)
	export := operation(d, "export", "Every record you may see, each batch decided anew; an export that fails is broken off",
		[]any{filter, query("format", "ndjson if absent: a record a line.", m{"type": "string", "enum": []string{"ndjson", "csv"}})}, nil, 200, nil, crm.Invalid)
	export["responses"].(m)["200"] = m{"description": "Records in the order of their ids.", "content": m{
		"application/x-ndjson": m{"schema": record}, "text/csv": m{"schema": m{"type": "string"}}}}
	paths[base+":export"] = m{"get": export}
	watch := operation(d, "watch", "Changes as server-sent events: ready, upsert, gone, heartbeat; gone also when a record leaves your sight", []any{filter}, nil, 200, nil, crm.Invalid)
	watch["responses"].(m)["200"] = m{"description": "A stream that begins now.", "content": m{"text/event-stream": m{"schema": m{"type": "string"}}}}
	paths[base+":watch"] = m{"get": watch}

	paths[base+"/{id}"] = m{
		"parameters": []any{pathID()},
		"get":        operation(d, "get", "One record", nil, nil, 200, one, crm.NotFound),
		"patch": operation(d, "update", "Change the named fields; null clears", []any{ifMatchParameter(), idempotency()},
			closed(m{"fields": ref("schemas", d.Entity+"_fields"), "territory": text("Pins the territory."), "segment": text("Pins the segment."),
				"unpin": m{"type": "boolean", "description": "Gives the placement back to the plugin."}}),
			200, one, crm.Invalid, crm.Denied, crm.NotFound, crm.Conflict, crm.Stale, crm.PreconditionRequired, crm.Unavailable),
		"delete": operation(d, "delete", "Delete the record; answers with its last state", []any{ifMatchParameter(), idempotency()}, nil,
			200, one, crm.Denied, crm.NotFound, crm.NotHome, crm.Stale, crm.PreconditionRequired, crm.Unavailable),
	}
	version := closed(m{"record": record, "op": text(""), "at": m{"type": "string", "format": "date-time"}, "actor": text(""),
		"execution_id": text(""), "steps": m{"type": "array", "items": ref("schemas", "step")}})
	paths[base+"/{id}/history"] = m{"parameters": []any{pathID()}, "get": operation(d, "history", "Its versions, newest first, masked as today's policy says",
		[]any{query("limit", "50 if absent.", m{"type": "integer", "minimum": 1}), query("before", "Versions before this one.", m{"type": "integer", "minimum": 1})}, nil,
		200, closed(m{"versions": m{"type": "array", "items": version}}, "versions"), crm.Invalid, crm.NotFound)}
	paths[base+"/{id}/explain"] = m{"parameters": []any{pathID()}, "get": operation(d, "explain", "Why you may or may not do an action on it",
		[]any{query("action", "read if absent.", text("")), query("subject", "Somebody else; for officers.", text(""))}, nil,
		200, ref("schemas", "explanation"), crm.Invalid, crm.Denied, crm.NotFound)}
}

// aggregationPaths adds the paths that work numbers out of records.
func aggregationPaths(paths m, d crm.Definition, filter m) {
	names := m{"type": "array", "items": text("")}
	tally := m{"type": "object", "description": "By name, as asked for: country, sum(annual_revenue)."}
	answer := closed(m{
		"groups": m{"type": "array", "items": closed(m{"keys": tally, "values": tally}, "keys", "values")},
		"more":   m{"type": "boolean", "description": "There are more groups than the limit."},
	}, "groups", "more")
	const summary = "Count and sum what you may see, by up to three fields"
	limit := m{"type": "integer", "minimum": 1, "default": 100}
	post := operation(d, "aggregate_by", summary, nil,
		closed(m{"by": names, "measures": names, "filter": text(""), "order": text(""), "limit": limit}), 200, answer, crm.Invalid, crm.Denied)
	paths[restPrefix+d.Entity+":aggregate"] = m{
		"get": operation(d, "aggregate", summary, []any{
			query("by", "Fields, comma-separated; dates also as created:month (year, quarter, month, day).", text("")),
			query("measures", "count, or sum, avg, min, max, distinct of a field, comma-separated: count,sum(annual_revenue). count if absent.", text("")), filter,
			query("order", "A measure or one of by, - first for descending. The first measure, descending, if absent.", text("")),
			query("limit", "100 if absent; above 1000 is 1000.", limit)}, nil, 200, answer, crm.Invalid, crm.Denied),
		"post": post,
	}
}

func required(parameter m) m {
	parameter["required"] = true
	return parameter
}

func operation(d crm.Definition, verb, summary string, parameters []any, body m, status int, answer m, errors ...crm.Kind) m {
	responses := m{"401": ref("responses", string(crm.Unauthenticated)), "500": ref("responses", string(crm.Internal))}
	for _, k := range errors {
		responses[strconv.Itoa(wireOf(k).status)] = ref("responses", string(k))
	}
	if answer != nil {
		responses[strconv.Itoa(status)] = jsonContent("Done", answer)
	}
	out := m{"operationId": verb + "_" + d.Entity, "summary": summary, "tags": []string{d.Entity}, "responses": responses}
	if parameters != nil {
		out["parameters"] = parameters
	}
	if body != nil {
		out["requestBody"] = m{"required": true, "content": m{"application/json": m{"schema": body}}}
	}
	return out
}

// created adds the answer to a create of one record.
func created(operation, one m) m {
	operation["responses"].(m)["201"] = jsonContent("Created; Location and ETag name the record and its version", one)
	return operation
}

func jsonContent(description string, schema m) m {
	return m{"description": description, "content": m{"application/json": m{"schema": schema}}}
}

func closed(properties m, required ...string) m {
	out := m{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

func text(description string) m {
	if description == "" {
		return m{"type": "string"}
	}
	return m{"type": "string", "description": description}
}

func query(name, description string, schema m) m {
	return m{"name": name, "in": "query", "description": description, "schema": schema}
}

func pathID() m {
	return m{"name": "id", "in": "path", "required": true, "schema": m{"type": "string", "format": "uuid"}}
}

func ifMatchParameter() m {
	return m{"name": "If-Match", "in": "header", "required": true, "description": `The version you are changing: 3 or "3".`, "schema": m{"type": "string"}}
}

func idempotency() m {
	return m{"name": "Idempotency-Key", "in": "header", "description": "A repeat with the same key answers as the first call did.", "schema": m{"type": "string", "maxLength": maxKey}}
}
