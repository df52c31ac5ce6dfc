package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is what the Makefile's linker flags say this build is.
var version string

type versionCmd struct {
	JSON bool `help:"Print JSON for programs."`
}

// Run prints what was built from what.
func (v versionCmd) Run(out output) error {
	if v.JSON {
		return printJSON(out.Stdout, struct {
			Version string `json:"version"`
			Go      string `json:"go"`
			OS      string `json:"os"`
			Arch    string `json:"arch"`
		}{buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH})
	}
	_, err := fmt.Fprintf(out.Stdout, "meridian %s (%s %s/%s)\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// buildVersion is the version given at build time, else the commit that Go
// recorded.
func buildVersion() string {
	if version != "" {
		return version
	}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, dirty := "", ""
	for _, s := range build.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if revision == "" {
		return build.Main.Version
	}
	return revision + dirty
}
