package store

import "testing"

func TestMomentSaw(t *testing.T) {
	m := Moment{min: 10, max: 15, open: map[uint64]bool{10: true, 12: true}}
	for cursor, want := range map[string]bool{
		"9:100": true, "10:1": false, "11:1": true, "12:7": false, "14:1": true, "15:0": false, "200:1": false, "nonsense": false,
	} {
		if got := m.Saw(cursor); got != want {
			t.Errorf("Saw(%q) = %v, want %v", cursor, got, want)
		}
	}
	if (Moment{}).Saw("1:1") {
		t.Error("the zero moment saw something")
	}
}
