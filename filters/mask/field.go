package mask

import (
	"fmt"
	"strings"
)

// fieldSet are the names of JSON fields whose values are masked, in lower case.
type fieldSet struct {
	names   map[string]bool
	longest int
	own     *detector
}

func newFields(names []string) (*fieldSet, error) {
	f := &fieldSet{names: map[string]bool{}}
	for i, n := range names {
		if n == "" || len(n) > maxFieldName || strings.ContainsAny(n, "\"\\\r\n\x1b") {
			return nil, bad("fields", i, "", "is not usable", fmt.Sprintf("a name has 1 to %d bytes and neither quotes nor backslashes", maxFieldName))
		}
		f.names[strings.ToLower(n)] = true
		f.longest = max(f.longest, len(n))
	}
	return f, nil
}

const maxFieldName = 100

func (f *fieldSet) detector() *detector {
	f.own = &detector{
		name: "field", version: 1,
		anchors: []anchor{
			{laneOperator, [4]*[256]bool{bytesOf("\""), bytesOf(": \t"), setAny, setAny}},
			{laneOperator, [4]*[256]bool{bytesOf("\n"), setAny, setAny, setAny}},
		},
		find: f.find,
		run:  runString,
		keep: bytesOf(" \t"),
	}
	return f.own
}

// find looks for the value after the quote at b[i], which ends a name, or at the line after the newline there.
func (f *fieldSet) find(w *window, i int) match {
	b := w.b
	if b[i] == '\n' {
		return f.row(w, i)
	}
	k := i
	for k > max(0, i-f.longest-1) && b[k-1] != '"' {
		k--
	}
	if k == 0 || b[k-1] != '"' || k < w.floor-1 || !f.names[strings.ToLower(string(b[k:i]))] {
		return match{}
	}
	v, colon := i+1, false
	for v < len(b) && (is(b[v], clSpace) || b[v] == ':' && !colon) && v-i < lookback {
		colon = colon || b[v] == ':'
		v++
	}
	if v == len(b) {
		if w.final {
			return match{}
		}
		return undecided(v, v, v)
	}
	if !colon {
		return match{}
	}
	if b[v] == '"' {
		m := found(v+1, v+1, v+1)
		m.runs = true
		return m
	}
	return f.scalar(w, v)
}

// scalar masks a number; true, false and null tell nothing.
func (f *fieldSet) scalar(w *window, v int) match {
	b, end := w.b, v
	for end < len(b) && (is(b[end], clDigit) || strings.IndexByte("+-.eE", b[end]) >= 0) {
		end++
	}
	if end == len(b) && !w.final {
		return undecided(v, v, v)
	}
	if end == v {
		return match{}
	}
	m := found(v, v, end)
	m.number = true
	return m
}

// runString follows a JSON string to its closing quote.
func runString(w *window, i, n int) (int, bool) {
	b := w.b
	for i < len(b) {
		switch {
		case b[i] == '"', b[i] < ' ':
			return i, true
		case b[i] == '\\':
			if i+1 >= len(b) {
				return i, w.final
			}
			i++
		}
		i++
	}
	return i, w.final
}
