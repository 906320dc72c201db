package mask

import "bytes"

const (
	maxColumns   = 256
	maxTableLine = 8 << 10 // longest line of a table that is taken apart
)

// A table is what a stream knows of the CSV, or the aligned columns of a database client, that it is in. Its
// header named fields that are masked.
type table struct {
	delim   byte // 0: none
	columns int
	masked  [maxColumns]bool
	spans   []match // fields of the current line that are still to be masked
}

// row is asked at every line, which starts after the newline at b[i]: a header begins a table, a row of it has
// its fields queued, anything else ends it. When it only looks ahead it changes nothing.
func (f *fieldSet) row(w *window, i int) match {
	b, s := w.b, i+1
	t := w.table
	nl := bytes.IndexByte(b[s:min(len(b), s+maxTableLine)], '\n')
	end := s + nl
	if nl < 0 {
		if len(b)-s < maxTableLine && !w.final {
			if t.delim != 0 {
				return undecided(s, s, s)
			}
			return undecided(s, len(b), len(b))
		}
		end = min(len(b), s+maxTableLine)
	}
	line := bytes.TrimSuffix(b[s:end], []byte("\r"))
	if t.delim != 0 && (isRule(line) || len(line) == 0 && w.final) {
		return match{}
	}
	var spans []match
	n := 0
	if t.delim != 0 {
		spans, n = t.fields(w, s, line)
	}
	if t.delim != 0 && n == t.columns {
		if w.ahead && len(spans) > 0 {
			return spans[0]
		}
		t.spans = append(t.spans[:0], spans...)
		return match{}
	}
	if !w.ahead {
		t.delim = 0
		f.header(t, line)
	}
	return match{}
}

// isRule says whether line is the one between a header and its rows.
func isRule(line []byte) bool {
	for _, c := range line {
		if c != '-' && c != '+' && c != '=' && c != '|' && c != ' ' && c != ':' {
			return false
		}
	}
	return len(line) > 0
}

// header makes t the table whose header is line, if that names a field that is masked.
func (f *fieldSet) header(t *table, line []byte) {
	for _, delim := range []byte(",\t;|") {
		if bytes.IndexByte(line, delim) < 0 {
			continue
		}
		n, hit := 0, false
		var masked [maxColumns]bool
		eachField(line, delim, func(from, to int) {
			name := line[from:to]
			if n < maxColumns && len(name) <= maxFieldName && f.names[string(bytes.ToLower(name))] {
				masked[n], hit = true, true
			}
			n++
		})
		if hit && n <= maxColumns {
			t.delim, t.columns, t.masked = delim, n, masked
			return
		}
	}
}

// fields returns the masked fields of a row that starts at b[s], and how many fields it has.
func (t *table) fields(w *window, s int, line []byte) (spans []match, n int) {
	eachField(line, t.delim, func(from, to int) {
		if n < maxColumns && t.masked[n] && from < to && s+from >= w.floor {
			spans = append(spans, found(s+from, s+from, s+to))
		}
		n++
	})
	return spans, n
}

// eachField calls f with the bounds of every field of line, without blanks and quotes around it (RFC 4180).
// The rule of an outer frame makes no field.
func eachField(line []byte, delim byte, f func(from, to int)) {
	for i := 0; i <= len(line); i++ {
		from := i
		for i < len(line) && line[i] == ' ' {
			i++
		}
		quoted := i < len(line) && line[i] == '"'
		if quoted {
			for i++; i < len(line); i++ {
				if line[i] == '"' {
					if i+1 >= len(line) || line[i+1] != '"' {
						break
					}
					i++
				}
			}
		}
		for i < len(line) && line[i] != delim {
			i++
		}
		to := i
		for from < to && line[from] == ' ' {
			from++
		}
		for to > from && line[to-1] == ' ' {
			to--
		}
		if quoted && to-from >= 2 && line[to-1] == '"' {
			from, to = from+1, to-1
		}
		if bytes.IndexByte(line[from:to], esc) >= 0 {
			to = from + bytes.IndexByte(line[from:to], esc)
		}
		f(from, to)
	}
}
