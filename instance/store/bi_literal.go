package store

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// inlined puts values in the places of their placeholders: a view has no
// parameters. What stands in quotes is left alone; a kind of value that is not
// known is an error.
func inlined(sql string, values []any) (string, error) {
	var b strings.Builder
	for i := 0; i < len(sql); {
		switch c := sql[i]; c {
		case '\'', '"':
			end := strings.IndexByte(sql[i+1:], c)
			if end < 0 {
				return "", errors.New("a quote is not closed")
			}
			b.WriteString(sql[i : i+end+2])
			i += end + 2
		case '$':
			j := i + 1
			for j < len(sql) && sql[j] >= '0' && sql[j] <= '9' {
				j++
			}
			n, err := strconv.Atoi(sql[i+1 : j])
			if err != nil || n < 1 || n > len(values) {
				return "", fmt.Errorf("placeholder %q has no value", sql[i:j])
			}
			text, err := literalOf(values[n-1])
			if err != nil {
				return "", err
			}
			b.WriteString(text)
			i = j
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String(), nil
}

// literalOf is a bound value as a literal. Every placeholder has a cast behind
// it, so the text of a value is enough.
func literalOf(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "null", nil
	case string:
		return quoteLiteral(v), nil
	case []string:
		return quoteLiteral(arrayLiteral(v)), nil
	case int:
		return quoteLiteral(strconv.Itoa(v)), nil
	case int64:
		return quoteLiteral(strconv.FormatInt(v, 10)), nil
	case bool:
		return quoteLiteral(strconv.FormatBool(v)), nil
	case time.Time:
		return quoteLiteral(v.UTC().Format(time.RFC3339Nano)), nil
	}
	return "", fmt.Errorf("a value of type %T has no literal", v)
}

// quoteLiteral quotes text so that it is one literal however the server reads
// backslashes.
func quoteLiteral(s string) string {
	if strings.Contains(s, `\`) {
		return " E'" + strings.NewReplacer(`\`, `\\`, "'", "''").Replace(s) + "'"
	}
	return literal(s)
}
