package postgres

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sallyport-ssh/sallyport/filters/sql"
)

// copyOut masks the rows of COPY ... TO STDOUT. PostgreSQL sends each row in a message of its own; where one did
// not, its fields would be counted wrong, so a row that is not whole is hidden whole.
type copyOut struct {
	k      *masker
	o      sql.Copy
	styles []*style // by field; nil: not protected
	whole  bool     // every field is masked
	header bool     // the next row is the header
	row    []byte

	binary bool
	begun  bool     // the head of the stream has come
	types  []uint32 // by field, as far as they are known
}

// copyFor reads CopyOutResponse. It returns nil for what cannot be read.
func (k *masker) copyFor(m []byte, op *operation, guarded bool) *copyOut {
	b := &body{p: m[header:]}
	c := &copyOut{k: k, whole: guarded && (op == nil || op.touches), binary: b.byte() != 0}
	count := b.int16()
	if b.bad {
		return nil
	}
	if op == nil || op.st.CopyOut == nil {
		c.o.Format = "text"
		return c
	}
	c.o, c.header = *op.st.CopyOut, op.st.CopyOut.Header
	if op.names == nil || c.o.Relation == "" {
		return c
	}
	if c.whole {
		c.styles = op.names.copyStyles(&c.o, count)
		c.whole = c.styles == nil
	}
	if c.binary {
		k.names = op.names
		c.types = op.names.copyTypes(&c.o, count)
	}
	return c
}

// copyStyles works out which fields of a copied relation are protected: in any relation that its name can
// mean. Nil means that it cannot be told.
func (n *names) copyStyles(o *sql.Copy, count int) []*style {
	out := make([]*style, count)
	found := n.lookup(o.Relation)
	for _, r := range found {
		columns := o.Columns
		if len(columns) == 0 {
			columns = r.order()
		}
		if len(columns) != count {
			continue // then it is not this one
		}
		for i, name := range columns {
			for _, c := range r.columns {
				if c.name == name && c.style != nil {
					out[i] = c.style
				}
			}
		}
	}
	if len(found) == 0 || len(o.Columns) > 0 && len(o.Columns) != count {
		return nil
	}
	return out
}

// order lists the names of the columns as they stand in the relation.
func (r *relation) order() []string {
	nums := make([]int16, 0, len(r.columns))
	for n := range r.columns {
		nums = append(nums, n)
	}
	slices.Sort(nums)
	out := make([]string, len(nums))
	for i, n := range nums {
		out[i] = r.columns[n].name
	}
	return out
}

// data masks one CopyData, and returns it with the number of values that changed.
func (c *copyOut) data(m []byte) ([]byte, int, error) {
	if c.header {
		c.header = false
		return m, 0, nil
	}
	row := m[header:]
	if c.binary {
		return c.tuples(m)
	}
	var masked []byte
	if !c.whole && c.styles == nil && c.plain(row) {
		masked = c.k.look(row)
	} else {
		masked = c.fields(row)
	}
	if bytes.Equal(masked, row) {
		return m, 0, nil
	}
	c.row = message(c.row[:0], 'd', func(o []byte) []byte { return append(o, masked...) })
	return c.row, 1, nil
}

// plain tells whether values stand in a row as they are, so that all can be looked at at once.
func (c *copyOut) plain(row []byte) bool {
	if bytes.IndexByte(row, '\\') >= 0 { // escapes, or bytea
		return false
	}
	return !c.csv() || c.o.Quote == "" && c.o.Escape == "" && bytes.IndexByte(row, '"') < 0 && bytes.IndexByte(row, '\n') == len(row)-1
}

// rows masks rows that follow each other as data does each, in place as far as possible, and appends them to out. It
// returns how many there were, and how many changed.
func (c *copyOut) rows(out, m []byte) ([]byte, int, int) {
	k, b := c.k, &c.k.block
	b.reset()
	for at := 0; at < len(m); {
		end := at + 1 + int(binary.BigEndian.Uint32(m[at+1:]))
		b.row(at)
		b.whole[len(b.whole)-1] = !c.prepare(m[at+header:end], at+header)
		at = end
	}
	k.patch(m, func(_ *place, was []byte) []byte { return k.look(was) })
	n := len(b.rows)
	out, _, _ = b.emit(out, m, func(i int, row []byte) ([]byte, int, error) {
		row, n, err := c.data(row) // fails in binary only
		b.masked[i] = b.masked[i] || n > 0
		return row, n, err
	})
	masked := 0
	for _, changed := range b.masked {
		if changed {
			masked++
		}
	}
	b.give()
	return out, n, masked
}

// prepare goes through one row of a block. It reports false when the row has to be made anew.
func (c *copyOut) prepare(row []byte, from int) bool {
	b := &c.k.block
	at := len(b.rows) - 1
	line := bytes.TrimRight(row, "\r\n")
	if !c.whole && c.styles == nil {
		return c.plain(row) && b.keep(row, from, at, textOID)
	}
	escape := byte('\\')
	if c.csv() {
		if escape = '"'; c.o.Quote != "" {
			escape = c.o.Quote[0]
		}
	}
	delimiter := c.delimiter()
	if bytes.IndexByte(line, escape) >= 0 || bytes.IndexByte(line, '\\') >= 0 || delimiter == '*' {
		return false // cut and fields know how
	}
	places, looked := len(b.places), len(b.looked)
	i := 0
	for start := 0; ; i++ {
		n := bytes.IndexByte(line[start:], delimiter)
		f := line[start:]
		if n >= 0 {
			f = f[:n]
		}
		if !c.field(f, i, from+start, at) {
			b.places, b.looked = b.places[:places], b.looked[:looked]
			return false
		}
		if n < 0 {
			break
		}
		start += n + 1
	}
	if c.styles != nil && i+1 != len(c.styles) {
		b.places, b.looked = b.places[:places], b.looked[:looked]
		return false
	}
	return true
}

// field masks one field as mask does, or keeps it to be looked at.
func (c *copyOut) field(f []byte, i, from, row int) bool {
	if string(f) == c.null() {
		return true
	}
	s := c.style(i)
	if s == nil {
		return c.k.block.keep(f, from, row, textOID)
	}
	if bytes.ContainsAny(f, "\"'\n\r") {
		return false
	}
	changed, ok := inPlace(f, *s)
	if changed > 0 {
		c.k.block.masked[row] = true
	}
	return ok
}

// null is how NULL is written.
func (c *copyOut) null() string {
	if c.o.Null == "" && !c.csv() {
		return `\N`
	}
	return c.o.Null
}

// style is that of a field; nil: it is not protected.
func (c *copyOut) style(i int) *style {
	if c.whole {
		return &wholeStyle
	}
	if i < len(c.styles) {
		return c.styles[i]
	}
	return nil
}

// fields masks a row field by field.
func (c *copyOut) fields(row []byte) []byte {
	end := len(row)
	for end > 0 && (row[end-1] == '\n' || row[end-1] == '\r') {
		end--
	}
	line, rest := row[:end], row[end:]
	var out []byte
	i := 0
	for first := true; first || line != nil; first = false {
		var f []byte
		f, line = c.cut(line)
		if i > 0 {
			out = append(out, c.delimiter())
		}
		out = append(out, c.mask(f, i)...)
		i++
	}
	if c.styles != nil && i != len(c.styles) {
		return append(bytes.Repeat([]byte{'*'}, 3), rest...) // not one whole row
	}
	return append(out, rest...)
}

func (c *copyOut) csv() bool { return c.o.Format == "csv" }

func (c *copyOut) delimiter() byte {
	switch {
	case c.o.Delimiter != "":
		return c.o.Delimiter[0]
	case c.csv():
		return ','
	}
	return '\t'
}

// quotes are what a value of csv is quoted and escaped with.
func (c *copyOut) quotes() (quote, escape byte) {
	quote = '"'
	if c.o.Quote != "" {
		quote = c.o.Quote[0]
	}
	escape = quote
	if c.o.Escape != "" {
		escape = c.o.Escape[0]
	}
	return quote, escape
}

// cut returns the first field and what follows its delimiter; nil when there is none.
func (c *copyOut) cut(line []byte) (f, rest []byte) {
	delimiter := c.delimiter()
	quote, escape := c.quotes()
	inside := false
	for i := 0; i < len(line); i++ {
		switch ch := line[i]; {
		case !c.csv() && ch == '\\':
			i++
		case c.csv() && inside && ch == escape && i+1 < len(line) && (line[i+1] == quote || line[i+1] == escape):
			i++
		case c.csv() && ch == quote:
			inside = !inside
		case ch == delimiter && !inside:
			return line[:i], line[i+1:]
		}
	}
	return line, nil
}

// value is what a field means.
func (c *copyOut) value(f []byte) []byte {
	if !c.csv() {
		return unescaped(f)
	}
	quote, escape := c.quotes()
	if len(f) < 2 || f[0] != quote {
		return f
	}
	out := make([]byte, 0, len(f))
	for i := 1; i < len(f)-1; i++ {
		if f[i] == escape && i+1 < len(f)-1 && (f[i+1] == quote || f[i+1] == escape) {
			i++
		}
		out = append(out, f[i])
	}
	return out
}

// written writes a value in the place of f as the server would.
func (c *copyOut) written(v, f []byte) []byte {
	if !c.csv() {
		if bytes.IndexByte(f, '\\') < 0 && bytes.IndexByte(v, c.delimiter()) < 0 {
			return v // it stood as it is, and does
		}
		return escaped(v, c.delimiter())
	}
	quote, escape := c.quotes()
	special := string([]byte{quote, c.delimiter(), '\n', '\r'})
	stands := !bytes.ContainsAny(v, special) || bytes.ContainsAny(f, special)
	if !(len(f) > 0 && f[0] == quote) && stands && string(v) != c.null() {
		return v
	}
	out := []byte{quote}
	for _, ch := range v {
		if ch == quote || ch == escape {
			out = append(out, escape)
		}
		out = append(out, ch)
	}
	return append(out, quote)
}

// Escapes of COPY's text format (copyto.c).
var copyEscapes = map[byte]byte{'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v'}

func unescaped(f []byte) []byte {
	if bytes.IndexByte(f, '\\') < 0 {
		return f
	}
	out := make([]byte, 0, len(f))
	for i := 0; i < len(f); i++ {
		ch := f[i]
		if ch == '\\' && i+1 < len(f) {
			i++
			ch = f[i]
			if plain, ok := copyEscapes[ch]; ok {
				ch = plain
			}
		}
		out = append(out, ch)
	}
	return out
}

func escaped(v []byte, delimiter byte) []byte {
	out := make([]byte, 0, len(v))
	for _, ch := range v {
		escape := ch == '\\' || ch == delimiter
		for letter, plain := range copyEscapes {
			if ch == plain {
				ch, escape = letter, true
				break
			}
		}
		if escape {
			out = append(out, '\\')
		}
		out = append(out, ch)
	}
	return out
}

// mask replaces one field, as it is written. NULL stays what it is.
func (c *copyOut) mask(f []byte, i int) []byte {
	if string(f) == c.null() {
		return f
	}
	was := c.value(f)
	var now []byte
	switch s := c.style(i); {
	case s == nil && bytes.HasPrefix(was, []byte(`\x`)):
		now = c.k.text(was, pgtype.ByteaOID) // or it is no hexadecimal, and looked at as it stands
		if now == nil || bytes.Equal(now, was) {
			now = c.k.look(was)
		}
	case s == nil:
		now = c.k.look(was)
	case *s == styleNull:
		return []byte(c.null())
	default:
		now = c.k.styled(was, *s)
	}
	if bytes.Equal(now, was) {
		return append([]byte{}, f...)
	}
	return append([]byte{}, c.written(now, f)...)
}
