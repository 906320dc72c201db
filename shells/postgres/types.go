package postgres

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"
)

// A madeType is a type that is not PostgreSQL's own, as the catalog has it.
type madeType struct {
	what shape
	elem uint32 // of an array: of its elements; of a range: of its bounds; of a multirange: the range
}

// queryTypes are the types that somebody made, and all arrays; what their binary form is like is said by the function that makes it.
const queryTypes = `SELECT t.oid, t.typtype, t.typsend::regproc::text, t.typelem, t.typbasetype, coalesce(r.rngsubtype, m.rngsubtype, 0)
	FROM pg_type t LEFT JOIN pg_range r ON r.rngtypid = t.oid LEFT JOIN pg_range m ON m.rngmultitypid = t.oid WHERE t.oid >= 16384
	OR t.typsend = 'array_send'::regproc`

// addType takes a row of queryTypes.
func (n *names) addType(row [][]byte) {
	t := madeType{what: shapeUnknown, elem: oid(row[5])}
	switch send := string(row[2]); send[strings.LastIndexByte(send, '.')+1:] { // extensions are in schemas of their own
	case "textsend", "varcharsend", "bpcharsend", "enum_send", "citextsend", "cstring_send", "xml_send":
		t.what = shapeText
	case "array_send":
		t.what, t.elem = shapeArray, oid(row[3])
	case "record_send":
		t.what = shapeRecord
	case "range_send":
		t.what = shapeRange
	case "multirange_send":
		t.what = shapeMultirange
	case "hstore_send":
		t.what = shapePairs
	}
	if row[1][0] == 'd' {
		t.what, t.elem = shapeDomain, oid(row[4])
	}
	n.types[oid(row[0])] = t
}

// made returns what the catalog says of a type.
func (k *masker) made(typ uint32) madeType {
	if k.names == nil {
		return madeType{what: shapeUnknown}
	}
	t, ok := k.names.types[typ]
	if !ok {
		return madeType{what: shapeUnknown}
	}
	for depth := 0; t.what == shapeDomain && depth < maxDepth; depth++ {
		base := t.elem
		if base < firstUserOID {
			return madeType{what: shapeOf(k.types, base), elem: k.elementOf(base)}
		}
		if t, ok = k.names.types[base]; !ok {
			return madeType{what: shapeUnknown}
		}
	}
	return t
}

// baseOf is the type that a domain is made of, at last; any other type is its own.
func (k *masker) baseOf(typ uint32) uint32 {
	for depth := 0; typ >= firstUserOID && k.names != nil && depth < maxDepth; depth++ {
		t, ok := k.names.types[typ]
		if !ok || t.what != shapeDomain {
			break
		}
		typ = t.elem
	}
	return typ
}

// elementOf is the type that ranges, and multiranges, of typ are of.
func (k *masker) elementOf(typ uint32) uint32 {
	if typ >= firstUserOID {
		return k.made(typ).elem
	}
	t, ok := k.types.TypeForOID(typ)
	if !ok {
		return 0
	}
	switch c := t.Codec.(type) {
	case *pgtype.RangeCodec:
		return c.ElementType.OID
	case *pgtype.MultirangeCodec:
		if r, ok := c.ElementType.Codec.(*pgtype.RangeCodec); ok {
			return r.ElementType.OID
		}
	}
	return 0
}

// pairs masks hstore: a count, and a key and a value of each.
func (k *masker) pairs(v []byte) []byte {
	b := &body{p: v}
	n := b.int32()
	out := slices.Clone(v[:min(4, len(v))])
	for range n {
		for range 2 {
			was := b.value()
			if b.bad {
				return nil
			}
			now := was
			if was != nil {
				now = slices.Clone(k.look(was))
			}
			out = appendValue(out, now)
		}
	}
	if b.bad || len(b.p) > 0 {
		return nil
	}
	return out
}

// lexemes masks tsvector: a count, and of each word its text and positions.
func (k *masker) lexemes(v []byte) []byte {
	b := &body{p: v}
	n := b.int32()
	out := slices.Clone(v[:min(4, len(v))])
	for range n {
		was := b.text()
		count := b.int16()
		positions := b.take(2 * count)
		if b.bad {
			return nil
		}
		out = appendText(out, string(k.look([]byte(was))))
		out = append(binary.BigEndian.AppendUint16(out, uint16(count)), positions...)
	}
	if b.bad || len(b.p) > 0 {
		return nil
	}
	return out
}

// unknown masks a value of a type of which nothing is known. Text is looked through, as enums and citext are; what is
// too short to hold a secret but as a number is looked at as that; anything else becomes NULL.
func (k *masker) unknown(v []byte) []byte {
	control := func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' && r != '\r' || r == 0x7f }
	if utf8.Valid(v) && bytes.IndexFunc(v, control) < 0 {
		return k.text(v, textOID)
	}
	if len(v) > 8 || !bytes.Equal(k.look(v), v) {
		return nil
	}
	for _, typ := range []uint32{pgtype.Int8OID, pgtype.Int4OID} {
		if text, ok := numberText(v, typ); ok && k.text([]byte(text), typ) == nil {
			return nil
		}
	}
	return v
}

// hexRuns masks what stands in hexadecimal in a text, as bytea does in arrays and records.
func (k *masker) hexRuns(v []byte) []byte {
	out := v
	for at := 0; ; {
		i := bytes.Index(out[at:], []byte(`\x`))
		if i < 0 {
			return out
		}
		start := at + i + 2
		end := start
		for end < len(out) && isHex(out[end]) {
			end++
		}
		end -= (end - start) % 2
		at = end
		plain := make([]byte, hex.DecodedLen(end-start))
		if _, err := hex.Decode(plain, out[start:end]); err != nil {
			continue // it was looked at
		}
		if masked := k.look(plain); !bytes.Equal(masked, plain) {
			tail := slices.Clone(out[end:])
			out = hex.AppendEncode(slices.Clone(out[:start]), masked)
			at = len(out)
			out = append(out, tail...)
		}
	}
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }
