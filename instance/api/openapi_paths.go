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
