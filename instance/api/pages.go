package api

import (
	"encoding/json"
	"html/template"
	"net/http"
	"strings"

	"meridian/instance/crm"
)

// mountPages serves what needs no token: it says nothing of records.
func (s *server) mountPages() {
	page := func(path string, h http.HandlerFunc) {
		s.mount("GET "+path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name(r.Context(), path, "")
			h(w, r)
		}), "GET "+path)
	}
	page("/{$}", s.landing)
	page("/openapi.json", s.openapi)
	page("/problems/{kind}", s.problemPage)
	page("/healthz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, map[string]bool{"ok": true}) })
	page("/readyz", s.readyz)
	page("/metrics", metricsHandler(s.Registry).ServeHTTP)
	s.mount("/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(r.Context(), w, crm.Errorf(crm.NotFound, "no such path; GET / lists where to go"))
	}), "/")
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The caller may be gone; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(v)
}

// readyz names the parts that can fail alone and whether they are well; why
// not is for operators (InstanceService.Describe).
func (s *server) readyz(w http.ResponseWriter, r *http.Request) {
	d := s.describe(r.Context())
	parts := make(map[string]bool, len(d.Parts))
	status, ok := http.StatusOK, true
	for _, p := range d.Parts {
		parts[p.Name] = p.Ok
		ok = ok && p.Ok
	}
	if !ok {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, status, map[string]any{"ok": ok, "parts": parts})
}

// links of the landing page, in order.
var links = []struct{ Path, Text string }{
	{"/openapi.json", "the REST interface, from the live schema"},
	{"/api/v1/account?limit=5", "records, with a token"},
	{"/healthz", "whether the process lives"},
	{"/readyz", "whether its parts are ready"},
	{"/metrics", "Prometheus metrics"},
}

var landingPage = template.Must(template.New("landing").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Meridian {{.Instance}}</title>
<style>body{font:16px/1.5 system-ui;max-width:44rem;margin:3rem auto;padding:0 1rem}code{background:#8882;padding:.1em .3em}</style>
<h1>Meridian: {{.Instance}}</h1>
<p>This instance of the CRM speaks REST, gRPC, gRPC-Web and Connect on this port. Version {{.Version}}.</p>
<ul>{{range .Links}}<li><a href="{{.Path}}"><code>{{.Path}}</code></a> {{.Text}}</li>{{end}}</ul>
<p>gRPC services (reflection is on): {{range $i, $s := .Services}}{{if $i}}, {{end}}<code>{{$s}}</code>{{end}}.</p>
</html>
`))

func (s *server) landing(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		paths := make(map[string]string, len(links))
		for _, l := range links {
			paths[l.Path] = l.Text
		}
		writeJSON(w, http.StatusOK, map[string]any{
			"instance": s.Instance, "version": s.Version, "links": paths, "services": services(),
		})
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	// The template is fixed and its values are ours: only a broken connection fails.
	_ = landingPage.Execute(w, map[string]any{"Instance": s.Instance, "Version": s.Version, "Links": links, "Services": services()})
}

// problemPage is what the type of a problem document points to.
func (s *server) problemPage(w http.ResponseWriter, r *http.Request) {
	kind := crm.Kind(r.PathValue("kind"))
	row := wireOf(kind)
	if row.kind != kind {
		writeProblem(r.Context(), w, crm.Errorf(crm.NotFound, "no such kind of problem"))
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"kind": row.kind, "title": row.title, "status": row.status, "grpc": row.code.String(), "remedy": row.remedy,
	})
}
