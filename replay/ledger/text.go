package ledger

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// clean makes s storable in both databases: PostgreSQL takes neither NUL nor broken UTF-8.
func clean(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == 0 || r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[i])
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// shorten cuts s to at most limit bytes at a rune boundary and marks the cut.
func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	const mark = "…"
	cut := limit - len(mark)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + mark
}

// A check collects the first complaint about a row's fields.
type check struct{ err error }

// text bounds and cleans a field that people read.
func (c *check) text(field, s string, limit int) string {
	if len(s) > limit && c.err == nil {
		c.err = fmt.Errorf("%s of %d bytes, at most %d: %w", field, len(s), limit, ErrTooLong)
	}
	if len(s) > limit {
		return ""
	}
	return clean(s)
}

// key bounds a field that rows are found by. It must be exact, so nothing is cleaned.
func (c *check) key(field, s string) string {
	if c.err != nil {
		return s
	}
	switch {
	case len(s) > MaxKey:
		c.err = fmt.Errorf("%s of %d bytes, at most %d: %w", field, len(s), MaxKey, ErrTooLong)
	case clean(s) != s:
		c.err = fmt.Errorf("%s %q: %w", field, s, ErrInvalid)
	}
	return s
}

// need is key for a field that must not be empty.
func (c *check) need(field, s string) string {
	if s == "" && c.err == nil {
		c.err = fmt.Errorf("no %s: %w", field, ErrInvalid)
	}
	return c.key(field, s)
}

// oneOf is a field with few allowed values.
func oneOf[T ~string](c *check, field string, v T, allowed ...T) string {
	for _, a := range allowed {
		if v == a {
			return string(v)
		}
	}
	if c.err == nil {
		c.err = fmt.Errorf("%s %q: %w", field, string(v), ErrInvalid)
	}
	return ""
}

// json is v as JSON text, "" for nil.
func (c *check) json(field string, v any, limit int) string {
	b, err := json.Marshal(v)
	if err != nil && c.err == nil {
		c.err = fmt.Errorf("%s: %w: %w", field, ErrInvalid, err)
	}
	return c.text(field, string(b), limit)
}

// object is facts as a JSON object; nil is {}.
func (c *check) object(field string, m map[string]any) string {
	if len(m) == 0 {
		return "{}"
	}
	return c.json(field, exact(m), MaxFacts)
}

// bytesKey marks a string that JSON cannot hold: {"$bytes": "base64"}.
const bytesKey = "$bytes"

// exact is v with every string that is not UTF-8 made storable, so that parseObject gives it back.
func exact(v any) any {
	switch v := v.(type) {
	case string:
		if utf8.ValidString(v) {
			return v
		}
		return map[string]any{bytesKey: []byte(v)}
	case []string:
		out := make([]any, len(v))
		for i := range v {
			out[i] = exact(v[i])
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = exact(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[clean(k)] = exact(v[k])
		}
		return out
	}
	return v
}

// parseObject gives back what object stored, with the types that facts have: bool, int64, string,
// []string, and float64, []any or a map where it was something else.
func parseObject(s string) (map[string]any, error) {
	if s == "" || s == "{}" {
		return nil, nil
	}
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return nil, err
	}
	for k, v := range m {
		m[k] = plain(v)
	}
	return m, nil
}

// plain undoes exact.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64() // a number too large for a float was never stored
		return f
	case map[string]any:
		if s, ok := v[bytesKey].(string); ok && len(v) == 1 {
			if b, err := base64.StdEncoding.DecodeString(s); err == nil {
				return string(b)
			}
		}
		for k := range v {
			v[k] = plain(v[k])
		}
		return v
	case []any:
		return plainList(v)
	}
	return v
}

// plainList is a []string when all of it is strings.
func plainList(v []any) any {
	words := make([]string, 0, len(v))
	for i := range v {
		v[i] = plain(v[i])
		if s, ok := v[i].(string); ok {
			words = append(words, s)
		}
	}
	if len(words) == len(v) {
		return words
	}
	return v
}
