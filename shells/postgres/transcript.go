package postgres

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// What of a result is put into the record by itself.
const (
	shownRows  = 10
	shownWidth = 60   // characters of one value
	shownBytes = 8192 // of rows of COPY
)

// A transcript is what a player shows of a session: statements, the first rows of what came back as the
// client saw it masked, and how it ended, much as psql would. It is used by one goroutine.
type transcript struct {
	k     *masker
	op    *operation
	names []string
	rows  [][]string
	count int
	raw   int // bytes of rows of COPY
	out   bytes.Buffer
	last  *operation // whose text was shown
}

// statement shows a statement's text, once.
func (t *transcript) statement(op *operation) {
	if op == nil || t.last == op {
		return
	}
	t.last = op
	text := string(t.k.look([]byte(op.text)))
	if len(text) > 2000 {
		text = strings.ToValidUTF8(text[:2000], "") + "..."
	}
	fmt.Fprintf(&t.out, "=> %s\n", strings.TrimSuffix(text, ";")+";")
}

// begin begins a result.
func (t *transcript) begin(op *operation, p *plan) {
	t.statement(op)
	t.op, t.names, t.rows, t.count, t.raw = op, p.names, t.rows[:0], 0, 0
}

// row takes a masked DataRow.
func (t *transcript) row(m []byte) {
	if t.count++; t.count > shownRows {
		return
	}
	b := &body{p: m[header:]}
	n := b.int16()
	row := make([]string, n)
	for i := range n {
		v := b.value()
		if v == nil {
			row[i] = ""
			continue
		}
		row[i] = cell(v)
	}
	t.rows = append(t.rows, row)
}

// wants tells whether the next row is one that is shown.
func (t *transcript) wants() bool { return t.count < shownRows }

// cell is a value as one short line.
func cell(v []byte) string {
	long := len(v) > 4*shownWidth
	if long {
		v = v[:4*shownWidth]
	}
	s := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return '.'
		}
		return r
	}, string(v))
	if r := []rune(s); len(r) > shownWidth || long {
		return string(r[:min(shownWidth, len(r))]) + "..."
	}
	return s
}

// wantsCopied tells whether the next row of COPY is one that is shown.
func (t *transcript) wantsCopied() bool { return t.raw <= shownBytes }

// copied takes a masked row of COPY.
func (t *transcript) copied(m []byte) {
	if t.raw > shownBytes {
		return
	}
	p := m[header:]
	t.raw += len(p)
	t.out.Write(bytes.ToValidUTF8(p, []byte(".")))
}

// end shows the result of a statement, or of a part of it.
func (t *transcript) end(op *operation, tag string) {
	t.statement(op)
	if len(t.names) > 0 {
		t.table()
		if t.count > shownRows {
			fmt.Fprintf(&t.out, "(%d rows, %d shown)\n", t.count, shownRows)
		} else {
			fmt.Fprintf(&t.out, "(%d rows)\n", t.count)
		}
	} else if tag != "" {
		t.out.WriteString(tag + "\n")
	}
	t.names, t.rows, t.count, t.raw = nil, t.rows[:0], 0, 0
}

// table draws the rows as psql does.
func (t *transcript) table() {
	width := make([]int, len(t.names))
	for i, n := range t.names {
		width[i] = utf8.RuneCountInString(cell([]byte(n)))
	}
	for _, row := range t.rows {
		for i, v := range row {
			if i < len(width) {
				width[i] = max(width[i], utf8.RuneCountInString(v))
			}
		}
	}
	line := func(row []string, sep, pad string) {
		for i := range width {
			v := ""
			if i < len(row) {
				v = row[i]
			}
			if i > 0 {
				t.out.WriteString(sep)
			}
			t.out.WriteString(pad + v + strings.Repeat(pad, width[i]-utf8.RuneCountInString(v)) + pad)
		}
		t.out.WriteByte('\n')
	}
	head := make([]string, len(t.names))
	for i, n := range t.names {
		head[i] = cell([]byte(n))
	}
	line(head, "|", " ")
	line(nil, "+", "-")
	for _, row := range t.rows {
		line(row, "|", " ")
	}
}

// failed shows an error, which is masked.
func (t *transcript) failed(op *operation, m []byte) {
	t.statement(op)
	t.out.WriteString(messageText(m))
	t.names, t.rows, t.count = nil, t.rows[:0], 0
}

// notice shows a notice, which is masked.
func (t *transcript) notice(m []byte) { t.out.WriteString(messageText(m)) }

// flush hands over what there is.
func (t *transcript) flush(g Guard) error {
	if t.out.Len() == 0 {
		return nil
	}
	err := g.Show(t.out.Bytes())
	t.out.Reset()
	return err
}
