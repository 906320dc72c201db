package postgres

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sallyport-ssh/sallyport/filters/mask"
)

const (
	textOID  = pgtype.TextOID
	byteaOID = pgtype.ByteaOID
)

// A field is a column of a result.
type field struct {
	name   string
	table  uint32 // relation that it comes from, or 0
	att    int16  // and the column of it; 0 for a whole row
	typ    uint32
	format int16 // 0 text, 1 binary
}

// fields reads RowDescription; NoData has none.
func fields(m []byte) []field {
	out := []field{}
	if m[0] != 'T' {
		return out
	}
	b := &body{p: m[header:]}
	for range b.int16() {
		f := field{name: b.text(), table: b.oid(), att: int16(b.int16()), typ: b.oid()}
		b.take(6) // size and modifier
		f.format = int16(b.int16())
		if b.bad {
			break
		}
		out = append(out, f)
	}
	return out
}

// A style is how a protected value is replaced.
type style byte

const (
	styleStars style = iota // stars
	styleLast4
	styleToken
	styleNull
)

var wholeStyle = styleStars

func parseStyle(name string) (*style, error) {
	for i, n := range []string{"stars", "last4", "token", "null"} {
		if name == n || name == "" && i == 0 {
			s := style(i)
			return &s, nil
		}
	}
	return nil, fmt.Errorf("%q is not a style of a protected column: write stars, last4, token or null", name)
}

// A plan is how the rows of one result are masked.
type plan struct {
	columns []columnPlan
	names   []string
	// known is false when nobody said what the columns are.
	known bool
	whole bool // then, mask them
	plain bool // every column is text to look through, and none protected
}

type columnPlan struct {
	style  *style // nil: look for secrets
	typ    uint32
	binary bool
	what   shape
	way    way // of a block's values
}

// planFor decides, column by column. Formats replaces the fields' own, as Bind says; nil keeps them.
func (k *masker) planFor(columns []field, formats []int16, op *operation, guarded bool) *plan {
	if op != nil && op.names != nil {
		k.names = op.names
	}
	p := &plan{known: columns != nil, whole: guarded && (op == nil || op.touches), plain: true}
	for i, f := range columns {
		c := columnPlan{typ: f.typ, binary: f.format == 1, what: k.shapeOf(f.typ)}
		switch {
		case len(formats) == 1:
			c.binary = formats[0] == 1
		case i < len(formats):
			c.binary = formats[i] == 1
		}
		if guarded {
			c.style = originStyle(f, op, p.whole)
		}
		c.way = c.wayOf()
		p.plain = p.plain && c.style == nil && (!c.binary && !c.what.holdsHex() || c.what == shapeText) && f.typ != pgtype.ByteaOID
		p.columns, p.names = append(p.columns, c), append(p.names, f.name)
	}
	p.plain = p.plain && p.known
	return p
}

// firstUserOID is FirstNormalObjectId: what is below came with PostgreSQL.
const firstUserOID = 16384

// originStyle is the style of a column by where it comes from.
func originStyle(f field, op *operation, whole bool) *style {
	if f.table == 0 || op == nil || op.names == nil {
		if whole {
			return &wholeStyle
		}
		return nil
	}
	r := op.names.byOID[f.table]
	switch {
	case r == nil && f.table < firstUserOID:
		return nil
	case r == nil:
		return &wholeStyle // newer than the catalog as it was read
	case f.att == 0 && r.protected:
		return &wholeStyle
	case f.att == 0:
		return nil
	}
	c := r.columns[f.att]
	if c == nil && f.att > 0 {
		return &wholeStyle
	}
	if c == nil { // a system column
		return nil
	}
	return c.style
}

// A shape is what a type's values look like on the wire.
type shape byte

const (
	shapeText     shape = iota // the same bytes in both formats, and free to be any
	shapeJSON                  // text that must stay JSON
	shapeJSONB                 // in binary with a version before it
	shapeNumber                // its text can be looked at, and is a number
	shapeHarmless              // too short, or too regular, to hold a secret
	shapeArray
	shapeRange
	shapeMultirange
	shapeRecord
	shapePairs   // hstore
	shapeLexemes // tsvector
	shapeDomain  // whatever it is made of
	shapeUnknown
)

// holdsHex tells whether bytea can stand in the text of a value.
func (s shape) holdsHex() bool {
	switch s {
	case shapeArray, shapeRecord, shapeRange, shapeMultirange, shapeUnknown:
		return true
	}
	return false
}

// shapeOf knows PostgreSQL's own types.
func (k *masker) shapeOf(typ uint32) shape {
	if s, ok := k.shapes[typ]; ok {
		return s
	}
	if typ >= firstUserOID {
		return k.made(typ).what
	}
	s := shapeOf(k.types, typ)
	if s == shapeUnknown {
		return k.made(typ).what
	}
	k.shapes[typ] = s
	return s
}

func shapeOf(types *pgtype.Map, typ uint32) shape {
	switch typ {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.NameOID, pgtype.QCharOID, pgtype.UnknownOID,
		pgtype.XMLOID, pgtype.ByteaOID, 2275, 1790, 194: // cstring, refcursor, pg_node_tree
		return shapeText
	case pgtype.JSONOID:
		return shapeJSON
	case pgtype.JSONBOID:
		return shapeJSONB
	case pgtype.JSONPathOID:
		return shapeJSONB
	case pgtype.Int8OID, pgtype.Int4OID, pgtype.NumericOID, 790: // money
		return shapeNumber
	case pgtype.BoolOID, pgtype.Int2OID, pgtype.OIDOID, pgtype.XIDOID, pgtype.CIDOID, pgtype.TIDOID, pgtype.DateOID,
		pgtype.TimeOID, pgtype.TimetzOID, pgtype.TimestampOID, pgtype.TimestamptzOID, pgtype.IntervalOID, pgtype.UUIDOID,
		pgtype.Float4OID, pgtype.Float8OID, 2278, 5069, 3220, // void, xid8, pg_lsn
		pgtype.InetOID, pgtype.CIDROID, pgtype.MacaddrOID, pgtype.Macaddr8OID, pgtype.PointOID, pgtype.LsegOID, pgtype.PathOID,
		pgtype.BoxOID, pgtype.PolygonOID, pgtype.LineOID, pgtype.CircleOID, pgtype.BitOID, pgtype.VarbitOID, 2970, 5038: // snapshots
		return shapeHarmless
	case pgtype.TSVectorOID:
		return shapeLexemes
	case 22, 30: // int2vector, oidvector
		return shapeArray
	case pgtype.RecordOID:
		return shapeRecord
	}
	t, ok := types.TypeForOID(typ)
	if !ok {
		return shapeUnknown
	}
	switch t.Codec.(type) {
	case *pgtype.ArrayCodec:
		return shapeArray
	case *pgtype.RangeCodec:
		return shapeRange
	case *pgtype.MultirangeCodec:
		return shapeMultirange
	}
	return shapeUnknown
}

// A masker looks through values. It is used by one goroutine.
type masker struct {
	engine *mask.Engine
	stream *mask.Stream
	block  block
	key    []byte // of tokens
	types  *pgtype.Map
	names  *names // the catalog as it was last decided by
	shapes map[uint32]shape
	joined []byte
	looked []byte
	frame  []byte
}

func (k *masker) init(e *mask.Engine, key []byte) {
	k.key, k.engine = key, e
	k.stream = e.Stream(mask.StreamOptions{})
	k.types = sharedTypes
	k.shapes = map[uint32]shape{}
}

// sharedTypes is only asked what a type is, which changes nothing in it.
var sharedTypes = pgtype.NewMap()

// look returns p masked as text. The result is valid until the next call.
func (k *masker) look(p []byte) []byte {
	k.looked = k.stream.Whole(k.looked[:0], p)
	return k.looked
}

// row masks one DataRow, and returns it with the number of values that changed. When none did it is m itself.
func (k *masker) row(m []byte, p *plan) ([]byte, int, error) {
	b := &body{p: m[header:]}
	n := b.int16()
	if p.known && n != len(p.columns) {
		return nil, 0, fmt.Errorf("%w: %d columns where %d were described", errUnasked, n, len(p.columns))
	}
	if p.plain && !k.suspicious(b, n) {
		return m, 0, nil
	}
	b = &body{p: m[header+2:]}
	masked := 0
	k.frame = message(k.frame[:0], 'D', func(out []byte) []byte {
		out = binary.BigEndian.AppendUint16(out, uint16(n))
		for i := range n {
			was := b.value()
			now := was
			if was != nil {
				now = k.column(was, p, i)
			}
			if (was == nil) != (now == nil) || !bytes.Equal(was, now) {
				masked++
			}
			out = appendValue(out, now)
		}
		return out
	})
	if b.bad || len(b.p) > 0 {
		return nil, 0, fmt.Errorf("%w: a row that cannot be read", errUnasked)
	}
	if masked == 0 {
		return m, 0, nil
	}
	return k.frame, masked, nil
}

func appendValue(out, v []byte) []byte {
	if v == nil {
		return append(out, 0xff, 0xff, 0xff, 0xff)
	}
	out = binary.BigEndian.AppendUint32(out, uint32(len(v)))
	return append(out, v...)
}

// suspicious tells whether a detector would look closer at anything in a row. Between two values stands a newline, as
// it does before the first and after the last, so each is seen as if alone.
func (k *masker) suspicious(b *body, n int) bool {
	k.joined = append(k.joined[:0], '\n')
	for range n {
		k.joined = append(append(k.joined, b.value()...), '\n')
	}
	if b.bad || len(b.p) > 0 {
		return true // the slow way says what is wrong
	}
	return bytes.IndexByte(k.joined, 0x1b) >= 0 || k.engine.Next(k.joined, 0) < len(k.joined)
}

// column masks one value that is not NULL; nil makes it NULL.
func (k *masker) column(v []byte, p *plan, i int) []byte {
	if !p.known {
		if p.whole {
			return nil
		}
		return k.text(v, textOID)
	}
	c := p.columns[i]
	if c.style != nil {
		return k.protect(v, c)
	}
	if !c.binary {
		return k.text(v, c.typ)
	}
	return k.binary(v, c.typ, 0)
}

// protect replaces a value by its column's style. What is no text becomes NULL: a star is no number.
func (k *masker) protect(v []byte, c columnPlan) []byte {
	switch c.what {
	case shapeText:
		return k.styled(v, *c.style)
	case shapeJSON:
		return []byte(`"***"`)
	case shapeJSONB:
		if c.binary {
			return []byte("\x01\"***\"")
		}
		return []byte(`"***"`)
	}
	return nil
}

func (k *masker) styled(v []byte, s style) []byte {
	switch s {
	case styleNull:
		return nil
	case styleToken:
		return k.token(v)
	case styleLast4:
		if n := utf8.RuneCount(v); n >= 8 {
			tail := v
			for range n - 4 {
				_, size := utf8.DecodeRune(tail)
				tail = tail[size:]
			}
			return append(bytes.Repeat([]byte{'*'}, n-4), tail...)
		}
	}
	return bytes.Repeat([]byte{'*'}, utf8.RuneCount(v))
}

// token is equal for equal values of all columns: 12 digits of a keyed hash.
func (k *masker) token(v []byte) []byte {
	h := hmac.New(sha256.New, k.key)
	h.Write(v)
	return fmt.Appendf(nil, "masked:%x", h.Sum(nil)[:6])
}

// text masks a value in text format. The result is valid until the next call.
func (k *masker) text(v []byte, typ uint32) []byte {
	what := k.shapeOf(typ)
	if what == shapeHarmless {
		return v
	}
	if typ == pgtype.ByteaOID && bytes.HasPrefix(v, []byte(`\x`)) {
		return k.hexadecimal(v)
	}
	if what.holdsHex() {
		v = k.hexRuns(v)
	}
	masked := k.look(v)
	if bytes.Equal(masked, v) {
		return v
	}
	switch what {
	case shapeNumber:
		return nil
	case shapeJSON, shapeJSONB:
		if !json.Valid(masked) {
			return []byte(`"***"`)
		}
	}
	return masked
}

// hexadecimal masks bytea as the server writes it.
func (k *masker) hexadecimal(v []byte) []byte {
	plain := make([]byte, hex.DecodedLen(len(v)-2))
	if _, err := hex.Decode(plain, v[2:]); err != nil {
		return nil
	}
	masked := k.look(plain)
	if bytes.Equal(masked, plain) {
		return v
	}
	return hex.AppendEncode([]byte(`\x`), masked)
}

// maxDepth bounds arrays of records of arrays.
const maxDepth = 32

// binary masks a value in binary format. What cannot be looked into becomes NULL.
func (k *masker) binary(v []byte, typ uint32, depth int) []byte {
	if depth > maxDepth {
		return nil
	}
	typ = k.baseOf(typ)
	switch k.shapeOf(typ) {
	case shapeHarmless:
		return v
	case shapeText, shapeJSON:
		return k.text(v, typ)
	case shapeJSONB:
		if len(v) == 0 || v[0] != 1 {
			return nil
		}
		masked := k.text(v[1:], typ)
		return append([]byte{1}, masked...)
	case shapeNumber:
		if text, ok := numberText(v, typ); !ok || k.text([]byte(text), typ) == nil {
			return nil
		}
		return v
	case shapeArray:
		return k.array(v, depth)
	case shapeRecord:
		return k.record(v, depth)
	case shapeRange:
		return k.between(v, k.elementOf(typ), depth)
	case shapeMultirange:
		return k.multirange(v, k.elementOf(typ), depth)
	case shapePairs:
		return k.pairs(v)
	case shapeLexemes:
		return k.lexemes(v)
	case shapeUnknown:
		return k.unknown(v)
	}
	return nil
}

// numberText is a number in binary format as text.
func numberText(v []byte, typ uint32) (string, bool) {
	switch {
	case len(v) == 8 && (typ == pgtype.Int8OID || typ == 790):
		return strconv.FormatInt(int64(binary.BigEndian.Uint64(v)), 10), true
	case len(v) == 4 && typ == pgtype.Int4OID:
		return strconv.FormatInt(int64(int32(binary.BigEndian.Uint32(v))), 10), true
	case typ == pgtype.NumericOID:
		value, err := pgtype.NumericCodec{}.DecodeDatabaseSQLValue(sharedTypes, typ, pgtype.BinaryFormatCode, v)
		s, ok := value.(string)
		return s, err == nil && ok
	}
	return "", false
}

// array masks the elements of an array: dimensions, a flag, the element's type, and the elements.
func (k *masker) array(v []byte, depth int) []byte {
	b := &body{p: v}
	dims := b.int32()
	b.take(4)
	elem := b.oid()
	if dims < 0 || dims > 6 {
		return nil
	}
	count := 1
	for range dims {
		n := b.int32()
		b.take(4)
		if n < 0 || n > math.MaxInt32/max(count, 1) {
			return nil
		}
		count *= n
	}
	if dims == 0 {
		count = 0
	}
	if b.bad {
		return nil
	}
	out := slices.Clone(v[:len(v)-len(b.p)])
	masked := false
	for range count {
		was := b.value()
		if b.bad {
			return nil
		}
		now := was
		if was != nil {
			now = k.binary(was, elem, depth+1)
		}
		masked = masked || now == nil && was != nil
		out = appendValue(out, now)
	}
	if len(b.p) > 0 {
		return nil
	}
	if masked { // an element became NULL: the flag says that there are some
		binary.BigEndian.PutUint32(out[4:], 1)
	}
	return out
}

// record masks the columns of a composite value: a count, and type and value of each.
func (k *masker) record(v []byte, depth int) []byte {
	b := &body{p: v}
	n := b.int32()
	out := slices.Clone(v[:min(4, len(v))])
	for range n {
		typ := b.oid()
		was := b.value()
		if b.bad {
			return nil
		}
		now := was
		if was != nil {
			now = k.binary(was, typ, depth+1)
		}
		out = appendValue(binary.BigEndian.AppendUint32(out, typ), now)
	}
	if b.bad || len(b.p) > 0 {
		return nil
	}
	return out
}

// between masks the bounds of a range: flags, and the bounds that are there.
func (k *masker) between(v []byte, elem uint32, depth int) []byte {
	b := &body{p: v}
	flags := b.byte()
	out := []byte{flags}
	for _, absent := range []byte{0x01 | 0x08, 0x01 | 0x10} { // empty, or infinite on that side
		if flags&absent != 0 {
			continue
		}
		was := b.value()
		if b.bad || was == nil {
			return nil
		}
		now := k.binary(was, elem, depth+1)
		if now == nil {
			return nil // a range cannot end at NULL
		}
		out = appendValue(out, now)
	}
	if b.bad || len(b.p) > 0 {
		return nil
	}
	return out
}

func (k *masker) multirange(v []byte, elem uint32, depth int) []byte {
	b := &body{p: v}
	n := b.int32()
	out := slices.Clone(v[:min(4, len(v))])
	for range n {
		was := b.value()
		if b.bad || was == nil {
			return nil
		}
		now := k.between(was, elem, depth+1)
		if now == nil {
			return nil
		}
		out = appendValue(out, now)
	}
	if b.bad || len(b.p) > 0 {
		return nil
	}
	return out
}

// shown are bound values for an approver and for the record: as SQL would write them.
func shown(values [][]byte, formats []int16, types []uint32) []string {
	out := make([]string, len(values))
	for i, v := range values {
		isBinary := len(formats) == 1 && formats[0] == 1 || i < len(formats) && formats[i] == 1
		var typ uint32
		if i < len(types) {
			typ = types[i]
		}
		out[i] = literal(v, isBinary, typ)
	}
	return out
}

func literal(v []byte, isBinary bool, typ uint32) string {
	if v == nil {
		return "NULL"
	}
	if isBinary && shapeOf(sharedTypes, typ) != shapeText || !utf8.Valid(v) {
		if s, ok := numberText(v, typ); ok {
			return s
		}
		if typ == pgtype.BoolOID && len(v) == 1 {
			return strconv.FormatBool(v[0] != 0)
		}
		if s, ok := decoded(v, typ); ok {
			return s
		}
		return fmt.Sprintf(`'\x%x'::bytea`, v)
	}
	return "'" + strings.ReplaceAll(string(v), "'", "''") + "'"
}

// decoded is a value of a type that pgtype knows.
func decoded(v []byte, typ uint32) (string, bool) {
	t, ok := sharedTypes.TypeForOID(typ)
	if !ok {
		return "", false
	}
	value, err := t.Codec.DecodeValue(sharedTypes, typ, pgtype.BinaryFormatCode, v)
	if err != nil {
		return "", false
	}
	return fmt.Sprintf("'%v'", value), true
}
