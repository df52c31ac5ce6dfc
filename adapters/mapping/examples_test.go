package mapping_test

import (
	"path/filepath"
	"testing"

	"meridian/adapters/mapping"
)

// The mappings that ship are proven by their own examples.
func TestShippedMappings(t *testing.T) {
	paths, err := filepath.Glob("../../deploy/examples/mappings/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no mappings to test: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			m, err := mapping.Read(path)
			if err != nil {
				t.Fatal(err)
			}
			if len(m.Examples) == 0 {
				t.Error("no examples: a mapping without them is not proven")
			}
			for _, err := range m.CheckExamples() {
				t.Error(err)
			}
		})
	}
}
