package api

import (
	"net/http"

	"meridian/instance/crm"
)

// m is a JSON object of the OpenAPI document.
type m = map[string]any

// openapi describes REST as it is now, from the live schema. The schema is no
// secret; records are.
func (s *server) openapi(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-cache")
	writeJSON(w, http.StatusOK, document(s.Instance, s.Version, s.Door.Schema()))
}

func document(instance, version string, defs []crm.Definition) m {
	paths, schemas := m{}, sharedSchemas()
	var tags []m
	for _, d := range defs {
		tags = append(tags, m{"name": d.Entity, "description": d.Plural})
		schemas[d.Entity+"_fields"] = fieldsSchema(d)
		schemas[d.Entity] = recordSchema(d)
		entityPaths(paths, d)
	}
	return m{
		"openapi": "3.1.0",
		"info": m{
			"title": "Meridian: " + instance, "version": version,
			"description": "Records of this instance as the caller's territory, segment, relationships, agreements and colleagues' judgement let them be seen. " +
				"A record that is hidden answers exactly as one that does not exist. Errors are RFC 9457 problem documents.",
			"license": m{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"servers":  []m{{"url": "/"}},
		"security": []m{{"bearer": []string{}}},
		"tags":     tags,
		"paths":    paths,
		"components": m{
			"schemas":   schemas,
			"responses": problemResponses(),
			"securitySchemes": m{"bearer": m{
				"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A token for this instance: meridian token --as rep.west@amer",
			}},
		},
	}
}

func ref(kind, name string) m { return m{"$ref": "#/components/" + kind + "/" + name} }

// fieldTypes is how each type is written in JSON.
var fieldTypes = map[crm.Type]m{
	crm.TypeString:    {"type": "string"},
	crm.TypeInteger:   {"type": "integer", "format": "int64"},
	crm.TypeDecimal:   {"type": "string", "format": "decimal", "pattern": `^-?[0-9]+(\.[0-9]+)?$`},
	crm.TypeBoolean:   {"type": "boolean"},
	crm.TypeTimestamp: {"type": "string", "format": "date-time"},
	crm.TypeDate:      {"type": "string", "format": "date"},
	crm.TypeReference: {"type": "string", "format": "uuid"},
	crm.TypeList:      {"type": "array", "items": m{"type": "string"}},
}

func fieldsSchema(d crm.Definition) m {
	properties := m{}
	for _, f := range d.Fields {
		p := m{"title": f.Label, "x-meridian-group": f.Group}
		for k, v := range fieldTypes[f.Type] {
			p[k] = v
		}
		if !f.Required {
			p["type"] = []any{p["type"], "null"}
		}
		if len(f.Enum) > 0 {
			values := make([]any, 0, len(f.Enum)+1)
			for _, e := range f.Enum {
				values = append(values, e)
			}
			if !f.Required {
				values = append(values, nil)
			}
			p["enum"] = values
		}
		if f.Reference != "" {
			p["x-meridian-reference"] = f.Reference
		}
		if f.Classification != "" {
			p["x-meridian-classification"] = f.Classification
		}
		if f.Mask != crm.MaskHide {
			p["x-meridian-mask"] = string(f.Mask)
		}
		if f.Unique {
			p["x-meridian-unique"] = true
		}
		properties[f.Name] = p
	}
	return m{
		"type": "object", "properties": properties, "additionalProperties": false,
		"description": "Fields of a hidden group are absent. In a write, null clears a field.",
	}
}

func recordSchema(d crm.Definition) m {
	return m{
		"type": "object", "title": d.Label, "required": []string{"id", "version", "home", "fields", "withheld", "masked"},
		"properties": m{
			"id":       m{"type": "string", "format": "uuid"},
			"version":  m{"type": "integer", "format": "int64"},
			"home":     m{"type": "string", "description": "The instance that may write the record."},
			"fields":   ref("schemas", d.Entity+"_fields"),
			"withheld": m{"type": "array", "items": m{"type": "string", "enum": d.Groups()}, "description": "Field groups hidden from you."},
			"masked": m{"type": "array", "items": m{"type": "string", "enum": d.Groups()},
				"description": "Field groups of which you see what each field's x-meridian-mask leaves; fields without one are absent."},
			"governance": ref("schemas", "governance"),
		},
	}
}

func sharedSchemas() m {
	str, boolean, number, stamp := m{"type": "string"}, m{"type": "boolean"}, m{"type": "integer"}, m{"type": "string", "format": "date-time"}
	names := m{"type": "array", "items": str}
	kindNames := make([]string, len(kinds))
	for i, k := range kinds {
		kindNames[i] = string(k.kind)
	}
	reason := m{"type": "array", "items": m{"type": "object", "properties": m{"ground": str, "fact_id": str, "text": str}}}
	return m{
		"governance": m{"type": "object", "properties": m{
			"territory": str, "segment": str, "department": str, "owner": str, "account": str, "sensitivity": number,
			"jurisdiction": str, "pinned": boolean, "created": stamp, "updated": stamp,
		}},
		"problem": m{
			"type": "object", "title": "Problem document (RFC 9457)", "required": []string{"type", "title", "status", "detail", "kind", "reasons", "execution_id"},
			"properties": m{
				"type": str, "title": str, "status": number, "detail": str, "kind": m{"type": "string", "enum": kindNames},
				"field": str, "reasons": names, "home": str, "execution_id": str,
			},
		},
		"step": m{"type": "object", "properties": m{
			"step": str, "plugin": str, "version": str, "digest": str, "verdict": str, "set": names,
		}},
		"explanation": m{"type": "object", "properties": m{
			"allowed": boolean, "action": str, "subject": str, "opens": reason, "closes": reason, "revealed": names, "masked": names, "withheld": names, "bundle": str,
		}},
	}
}

// problemResponses are the errors of REST by status, from the one table.
func problemResponses() m {
	out := m{}
	for _, k := range kinds {
		out[string(k.kind)] = m{
			"description": k.title + ". " + k.remedy,
			"content":     m{"application/problem+json": m{"schema": ref("schemas", "problem")}},
		}
	}
	return out
}
