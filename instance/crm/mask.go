package crm

import (
	"strings"
	"time"
	"unicode/utf8"
)

// dots stand for what a mask takes away of a text.
const dots = "••••"

// Of is what the mask leaves of a value; null if nothing is. The store does
// the same in SQL, where conditions and orders need it.
func (m Mask) Of(v Value) Value {
	switch {
	case m == MaskLastFour && v.typ == TypeString:
		if utf8.RuneCountInString(v.text) < 8 {
			return String(dots)
		}
		runes := []rune(v.text)
		return String(dots + string(runes[len(runes)-4:]))
	case m == MaskYear && v.typ == TypeDate:
		return Date(v.text[:len(v.text)-len("-01-01")] + "-01-01")
	case m == MaskYear && v.typ == TypeTimestamp:
		return Timestamp(time.Date(v.at.Year(), time.January, 1, 0, 0, 0, 0, time.UTC))
	case m == MaskBand && (v.typ == TypeInteger || v.typ == TypeDecimal):
		band, err := ParseValue(v.typ, bandOf(v.Text()))
		if err == nil { // a power of ten below a number of its type is one
			return band
		}
	}
	return Value{}
}

// bandOf keeps the first digit that counts as 1 and makes the others 0.
func bandOf(number string) string {
	sign := ""
	if strings.HasPrefix(number, "-") {
		sign, number = "-", number[1:]
	}
	whole, fraction, _ := strings.Cut(number, ".")
	whole = strings.TrimLeft(whole, "0")
	if whole != "" {
		return sign + "1" + strings.Repeat("0", len(whole)-1)
	}
	if first := strings.IndexFunc(fraction, func(r rune) bool { return r != '0' }); first >= 0 {
		return sign + "0." + strings.Repeat("0", first) + "1"
	}
	return "0"
}
