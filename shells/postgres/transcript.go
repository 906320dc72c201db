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

// And where more rows are asked for: values are cut later, and rows are written a piece at a time.
const (
	MaxShownRows = 1_000_000
	longWidth    = 1000
	pieceRows    = 500
	pieceBytes   = 256 << 10
)

// A transcript is what a player shows of a session: statements, the first rows of what came back as the
// client saw it masked, and how it ended, much as psql would. It is used by one goroutine.
type transcript struct {
	k     *masker
	limit int // rows of one result; 0: shownRows
	op    *operation
	names []string
	rows  [][]string
	width []int // of columns, of the piece before
	size  int   // bytes of rows
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
	t.op, t.names, t.rows, t.count, t.raw, t.size, t.width = op, p.names, t.rows[:0], 0, 0, 0, nil
}

// most is how many rows of a result are shown.
func (t *transcript) most() int {
	if t.limit <= 0 {
		return shownRows
	}
	return t.limit
}

// widest is how many characters of a value are shown.
func (t *transcript) widest() int {
	if t.most() > shownRows {
		return longWidth
	}
	return shownWidth
}

// row takes a masked DataRow.
func (t *transcript) row(m []byte) {
	if t.count++; t.count > t.most() {
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
		row[i] = cell(v, t.widest())
		t.size += len(row[i])
	}
	t.rows = append(t.rows, row)
	if len(t.rows) >= pieceRows || t.size >= pieceBytes {
		t.table()
		t.rows, t.size = t.rows[:0], 0
	}
}

// wants tells whether the next row is one that is shown.
func (t *transcript) wants() bool { return t.count < t.most() }

// cell is a value as one line that is not too long.
func cell(v []byte, widest int) string {
	long := len(v) > 4*widest
	if long {
		v = v[:4*widest]
	}
	s := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return '.'
		}
		return r
	}, string(v))
	if r := []rune(s); len(r) > widest || long {
		return string(r[:min(widest, len(r))]) + "..."
	}
	return s
}

// wantsCopied tells whether the next row of COPY is one that is shown.
func (t *transcript) wantsCopied() bool {
	if t.most() > shownRows {
		return t.count < t.most()
	}
	return t.raw <= shownBytes
}

// copied takes a masked row of COPY.
func (t *transcript) copied(op *operation, m []byte) {
	t.statement(op)
	if !t.wantsCopied() {
		return
	}
	t.count++
	p := m[header:]
	t.raw += len(p)
	t.out.Write(bytes.ToValidUTF8(p, []byte(".")))
}

// end shows the result of a statement, or of a part of it.
func (t *transcript) end(op *operation, tag string) {
	t.statement(op)
	if len(t.names) > 0 {
		if len(t.rows) > 0 || t.width == nil {
			t.table()
		}
		if t.count > t.most() {
			fmt.Fprintf(&t.out, "(%d rows, %d shown)\n", t.count, t.most())
		} else {
			fmt.Fprintf(&t.out, "(%d rows)\n", t.count)
		}
	} else if tag != "" {
		t.out.WriteString(tag + "\n")
	}
	t.names, t.rows, t.count, t.raw = nil, t.rows[:0], 0, 0
}

// table draws the rows as psql does, below a head if they are the first.
func (t *transcript) table() {
	first := t.width == nil
	if first {
		t.width = make([]int, len(t.names))
	}
	width := t.width
	for i, n := range t.names {
		width[i] = max(width[i], utf8.RuneCountInString(cell([]byte(n), shownWidth)))
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
	if first {
		head := make([]string, len(t.names))
		for i, n := range t.names {
			head[i] = cell([]byte(n), shownWidth)
		}
		line(head, "|", " ")
		line(nil, "+", "-")
	}
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
