package dataquality

import (
	"net"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nyaruka/phonenumbers"

	"meridian/instance/crm/trees"
)

// country gives the alpha-2 code of a code or name it knows.
func country(s string) string {
	if code, ok := trees.CountryCode(s); ok {
		return code
	}
	return strings.TrimSpace(s)
}

func countryFault(s string) (code, message string) {
	if _, ok := trees.CountryCode(s); ok {
		return "", ""
	}
	return "country.unknown", "this is no country we know; give its two-letter ISO code, such as DE, or its English name"
}

// state gives the USPS code of a US state. An unknown one is kept: territories
// such as PR are no states, and other countries have their own codes.
func state(country, s string) string {
	if country == "US" {
		if code, ok := trees.StateCode(s); ok {
			return code
		}
	}
	return strings.TrimSpace(s)
}

// email trims and lower-cases the domain; the local part belongs to the
// domain's owner, who may tell cases apart.
func email(s string) string {
	s = strings.TrimSpace(s)
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		return s[:at+1] + strings.ToLower(s[at+1:])
	}
	return s
}

func emailFault(s string) (code, message string) {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || !validLocal(local) || !strings.Contains(domain, ".") || !validHost(domain, false) {
		return "email.invalid", "this is no e-mail address; give one such as name@example.com"
	}
	return "", ""
}

// validLocal accepts dot-atoms of RFC 5321 and letters of any script (RFC
// 6531); quoted local parts exist in standards, not among customers.
func validLocal(s string) bool {
	if s == "" || len(s) > 64 || !utf8.ValidString(s) || strings.HasPrefix(s, ".") || strings.HasSuffix(s, ".") || strings.Contains(s, "..") {
		return false
	}
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) && !strings.ContainsRune("!#$%&'*+/=?^_`{|}~.-", r) {
			return false
		}
	}
	return true
}

// validHost accepts names of letters of any script, digits and hyphens.
// Underscores are no part of a host name, but websites have them.
func validHost(s string, underscore bool) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 || !utf8.ValidString(s) {
		return false
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) && r != '-' && (r != '_' || !underscore) {
				return false
			}
		}
	}
	_, err := strconv.Atoi(labels[len(labels)-1])
	return err != nil // no top-level domain is a number
}

// website only trims: a valid website is stored as it was given.
func website(s string) string { return strings.TrimSpace(s) }

func websiteFault(s string) (code, message string) {
	if validWebsite(s) {
		return "", ""
	}
	return "website.invalid", "this is no website; give an address such as https://www.example.com"
}

// validWebsite accepts http and https URLs with a host, and bare domains with
// or without a path. It never looks anything up.
func validWebsite(s string) bool {
	bare := !strings.Contains(s, "://")
	if bare {
		s = "http://" + s
	}
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return false
	}
	u, err := url.Parse(s)
	// "https://bank.example@other.example" shows one name and leads to another.
	if err != nil || u.User != nil || !(strings.EqualFold(u.Scheme, "http") || strings.EqualFold(u.Scheme, "https")) {
		return false
	}
	host := u.Hostname()
	if bare {
		return strings.Contains(host, ".") && validHost(host, true)
	}
	return net.ParseIP(host) != nil || validHost(host, true)
}

// shortestPhone and longestPhone bound the digits of a subscriber's number;
// E.164 allows fifteen.
const (
	shortestPhone = 5
	longestPhone  = 15
)

// phone gives the E.164 form, with an extension behind it, where the country
// is known from a leading + or from the record. A number that its country's
// plan does not allow is kept as written: plans change more often than
// releases, and a guess would corrupt it.
func phone(country, s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if _, message := phoneFault(s); message != "" {
		return s
	}
	region := country
	if strings.HasPrefix(s, "+") {
		region = ""
	}
	e164 := international(region, s)
	if e164 != s && international("", e164) != e164 { // a form that would change at the next write is none
		return s
	}
	return e164
}

// international is the E.164 form of a number as dialled in the region, or
// the number itself if the region does not know it.
func international(region, s string) string {
	n, err := phonenumbers.Parse(s, region)
	if err != nil || (region != "" && phonenumbers.IsPossibleNumberWithReason(n) != phonenumbers.IS_POSSIBLE) {
		return s
	}
	e164 := phonenumbers.Format(n, phonenumbers.E164)
	if x := n.GetExtension(); x != "" {
		e164 += " ext. " + x
	}
	return e164
}

func phoneFault(s string) (code, message string) {
	number, extension := splitExtension(s)
	digits := 0
	for i, r := range number {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case r == '+' && i == 0, strings.ContainsRune(" ()-./", r), unicode.In(r, unicode.Zs, unicode.Pd):
		default:
			return "phone.invalid", "this is no phone number; write it in digits, such as +49 30 1234567"
		}
	}
	if digits < shortestPhone || digits > longestPhone || strings.ContainsFunc(extension, func(r rune) bool { return r < '0' || r > '9' }) {
		return "phone.invalid", "this is no phone number; give 5 to 15 digits, such as +49 30 1234567"
	}
	if strings.HasPrefix(number, "+") && !callable(number) {
		return "phone.invalid", "no country has this calling code; give one such as +49 for Germany"
	}
	return "", ""
}

// callable reports whether an international number begins with the calling
// code of a country or service: one to three digits, none a prefix of another.
func callable(number string) bool {
	known := phonenumbers.GetSupportedCallingCodes()
	code, digits := 0, 0
	for _, r := range number {
		if r < '0' || r > '9' {
			continue
		}
		code = code*10 + int(r-'0')
		if digits++; digits > 3 {
			return false
		}
		if known[code] {
			return true
		}
	}
	return false
}

// splitExtension cuts "ext. 12", "x12" or "#12" off a number.
func splitExtension(s string) (number, extension string) {
	lower := strings.ToLower(s)
	for _, mark := range []string{"ext.", "ext", "x", "#"} {
		if i := strings.Index(lower, mark); i > 0 {
			return strings.TrimSpace(s[:i]), strings.TrimSpace(s[i+len(mark):])
		}
	}
	return s, ""
}
