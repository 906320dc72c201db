package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/sallyport-ssh/sallyport/filters/sql"
)

// copySignature begins a stream of COPY in binary; a field of flags and a header extension follow it.
const copySignature = "PGCOPY\n\xff\r\n\x00"

// tuples masks a message of COPY in binary: a whole number of tuples, the head of the stream before the first and
// its end behind the last. What is cut otherwise is not shown.
func (c *copyOut) tuples(m []byte) ([]byte, int, error) {
	b := &body{p: m[header:]}
	masked := 0
	wrong := fmt.Errorf("%w: COPY in binary that cannot be read", errUnasked)
	if !c.begun {
		c.begun = true
		head := b.take(len(copySignature))
		flags := b.int32()
		if string(head) != copySignature || flags != 0 || b.take(b.int32()) == nil && b.bad {
			return nil, 0, wrong
		}
	}
	out := bytes.Clone(m[:len(m)-len(b.p)])
	for len(b.p) > 0 {
		n := int16(b.int16())
		out = binary.BigEndian.AppendUint16(out, uint16(n))
		if n == -1 && len(b.p) == 0 && !b.bad {
			break // the end
		}
		if n < 0 || c.styles != nil && int(n) != len(c.styles) {
			return nil, 0, wrong
		}
		for i := range int(n) {
			was := b.value()
			now := was
			if was != nil {
				now = c.binaryValue(was, i)
			}
			if (was == nil) != (now == nil) || !bytes.Equal(was, now) {
				masked++
			}
			out = appendValue(out, now)
		}
		if b.bad {
			return nil, 0, wrong
		}
	}
	binary.BigEndian.PutUint32(out[1:], uint32(len(out)-1))
	c.row = out
	return c.row, masked, nil
}

// binaryValue masks one value; nil makes it NULL.
func (c *copyOut) binaryValue(v []byte, i int) []byte {
	var typ uint32 // 0: not known
	if i < len(c.types) {
		typ = c.types[i]
	}
	if s := c.style(i); s != nil {
		return c.k.protect(v, columnPlan{style: s, typ: typ, binary: true, what: c.k.shapeOf(typ)})
	}
	return c.k.binary(v, typ, 0)
}

// copyTypes works out the types of the fields of a copied relation; 0 where that cannot be told.
func (n *names) copyTypes(o *sql.Copy, count int) []uint32 {
	out := make([]uint32, count)
	for at, r := range n.lookup(o.Relation) {
		columns := o.Columns
		if len(columns) == 0 {
			columns = r.order()
		}
		for i := range out {
			var typ uint32
			for _, c := range r.columns {
				if len(columns) == count && c.name == columns[i] {
					typ = c.typ
				}
			}
			if at > 0 && out[i] != typ {
				typ = 0 // the name means several relations
			}
			out[i] = typ
		}
	}
	return slices.Clip(out)
}
