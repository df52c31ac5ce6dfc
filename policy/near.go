package policy

import (
	"iter"
	"slices"
	"strings"
)

// near is the word that was probably meant, empty if none is near: a letter in
// three may be wrong, and only one in a short word.
func near(word string, known iter.Seq[string]) (found string) {
	least := max(1, len(word)/3) + 1
	for _, k := range slices.Sorted(known) {
		if k == word || k == "" {
			continue
		}
		d := distance(strings.ToLower(word), strings.ToLower(k))
		if d < least {
			least, found = d, k
		}
	}
	return found
}

// meant says what was probably meant, after a message.
func meant(word string, known iter.Seq[string]) string {
	if k := near(word, known); k != "" {
		return "; did you mean " + k + "?"
	}
	return ""
}

// distance is how many letters have to be put in, taken out, replaced or
// exchanged with their neighbour to make one word of the other.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	if len(x) > 64 || len(y) > 64 {
		return 64
	}
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(x)][len(y)]
}
