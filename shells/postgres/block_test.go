package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sallyport-ssh/sallyport/filters/mask"
	"github.com/sallyport-ssh/sallyport/filters/sql"
)

// pieces are what values of the tests are made of: secrets, beginnings and ends of them, and what could make one
// value say something about the next.
var pieces = []string{
	"", "a", "Person number 7", "user7@example.com", "ünï@example.com", "4111111111111111", "4111 1111", "1111 1111", "5555555555554444", "123-45-6789",
	"DE89370400440532013000", "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----", "PuTTY-User-Key-File-2: ssh-rsa", "Comment: me@example.com",
	"password", "password=", "password: hunter2222", ":", "=", "\x1b", "\x1b[31m", "\x1b]0;", "\x07", "\n", "\r\n", "\t", "\\", "\\N", "\"", "'", ",", "*", "****",
	"ghp_0123456789abcdefghijABCDEFGHIJ012345", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG", "https://u:secretsecret@h/",
	"+49 170 1234567", "0170", "{\"email\": \"x@example.org\"}", "\x00\x01\xff", "héllo wörld", "日本語@例え.jp", "open-sesame", "sesame", "open-", "\\x61406578616d706c652e636f6d",
}

// aValue is some pieces one behind the other.
func aValue(r *rand.Rand) []byte {
	if r.IntN(8) == 0 {
		return nil
	}
	v := []byte{}
	for range r.IntN(3) + 1 {
		v = append(v, pieces[r.IntN(len(pieces))]...)
	}
	return v
}

// engines are compiled once each: that takes longer than thousands of rows do.
var engines sync.Map

// aMasker looks for everything, and for words of an operator.
func aMasker(t testing.TB, style mask.Style, fields ...string) *masker {
	t.Helper()
	key := fmt.Sprint(style, fields)
	e, ok := engines.Load(key)
	if !ok {
		made, err := mask.New(mask.Config{Style: style, TokenKey: bytes.Repeat([]byte("k"), 32), Literals: []string{"open-sesame"}, Fields: fields,
			Patterns: []mask.Pattern{{Name: "two", Regex: "q[0-9]"}}})
		if err != nil {
			t.Fatal(err)
		}
		e, _ = engines.LoadOrStore(key, made)
	}
	k := &masker{}
	k.init(e.(*mask.Engine), bytes.Repeat([]byte("k"), 32))
	return k
}

var blockTypes = []uint32{pgtype.TextOID, pgtype.VarcharOID, pgtype.JSONOID, pgtype.JSONBOID, pgtype.Int8OID, pgtype.Int4OID, pgtype.NumericOID,
	pgtype.DateOID, pgtype.ByteaOID, pgtype.TextArrayOID, pgtype.BoolOID, 99999}

// aPlan is a plan for some columns.
func aPlan(r *rand.Rand, k *masker) *plan {
	var columns []field
	for range 1 + r.IntN(5) {
		columns = append(columns, field{name: "c", typ: blockTypes[r.IntN(len(blockTypes))], format: int16(r.IntN(4) / 3)})
	}
	p := k.planFor(columns, nil, nil, false)
	for i := range p.columns {
		if c := &p.columns[i]; r.IntN(3) == 0 {
			s := style(r.IntN(4))
			c.style = &s
			c.way = c.wayOf()
			p.plain = false
		}
	}
	return p
}

// TestBlocksAreMaskedAsRows compares the way by blocks with the way row by row, for all kinds of values beside each
// other: the first must never show more, nor hide more.
func TestBlocksAreMaskedAsRows(t *testing.T) {
	for _, fields := range [][]string{nil, {"email"}} {
		for _, st := range []mask.Style{mask.Stars, mask.Last4, mask.Token} {
			slow, fast := aMasker(t, st, fields...), aMasker(t, st, fields...)
			for seed := range uint64(3000) {
				r := rand.New(rand.NewPCG(seed, uint64(st)))
				p := aPlan(r, slow)
				var block, want []byte
				rows, changed := 1+r.IntN(6), 0
				for range rows {
					row := message(nil, 'D', func(b []byte) []byte {
						b = binary.BigEndian.AppendUint16(b, uint16(len(p.columns)))
						for range p.columns {
							b = appendValue(b, aValue(r))
						}
						return b
					})
					masked, n, err := slow.row(row, p)
					if err != nil {
						t.Fatal(err)
					}
					block, want, changed = append(block, row...), append(want, masked...), changed+n
				}
				was := bytes.Clone(block)
				got, n, masked, err := fast.rowsOf([]byte("x"), block, p)
				if err != nil || n != rows || masked != changed || !bytes.Equal(got[1:], want) {
					t.Fatalf("seed %d style %d: %d of %d rows, %d of %d masked, %v\nplan %+v\nrows %q\n got %q\nwant %q", seed, st, n, rows, masked, changed, err, p.columns, was, got[1:], want)
				}
			}
		}
	}
}

// TestCopiedBlocksAreMaskedAsRows is the same for COPY.
func TestCopiedBlocksAreMaskedAsRows(t *testing.T) {
	for seed := range uint64(6000) {
		r := rand.New(rand.NewPCG(seed, 7))
		st := []mask.Style{mask.Stars, mask.Last4, mask.Token}[r.IntN(3)]
		width := 1 + r.IntN(4)
		o := sql.Copy{Format: []string{"text", "csv"}[r.IntN(2)], Delimiter: []string{"", ";", "*"}[r.IntN(3)], Quote: []string{"", "'"}[r.IntN(2)], Null: []string{"", "NULL"}[r.IntN(2)]}
		slow, fast := &copyOut{k: aMasker(t, st), o: o}, &copyOut{k: aMasker(t, st), o: o}
		switch r.IntN(3) {
		case 0:
			slow.whole, fast.whole = true, true
		case 1:
			for range width {
				var s *style
				if r.IntN(2) == 0 {
					one := style(r.IntN(4))
					s = &one
				}
				slow.styles = append(slow.styles, s)
			}
			fast.styles = slow.styles
		}
		var block, want []byte
		rows, changed := 1+r.IntN(6), 0
		for range rows {
			line := []byte{}
			for i := range width + r.IntN(10)/9 {
				if i > 0 {
					line = append(line, slow.delimiter())
				}
				line = append(line, aValue(r)...)
			}
			row := message(nil, 'd', func(b []byte) []byte { return append(append(b, line...), '\n') })
			masked, n, err := slow.data(row)
			if err != nil {
				t.Fatal(err)
			}
			block, want, changed = append(block, row...), append(want, masked...), changed+n
		}
		was := bytes.Clone(block)
		got, n, masked := fast.rows(nil, block)
		if n != rows || masked != changed || !bytes.Equal(got, want) {
			t.Fatalf("seed %d %+v styles %v whole %v: %d of %d rows, %d of %d masked\nrows %q\n got %q\nwant %q", seed, o, slow.styles, slow.whole, n, rows, masked, changed, was, got, want)
		}
	}
}

// A row that is not what was described is an error by either way.
func TestBlockOfBrokenRows(t *testing.T) {
	k := aMasker(t, mask.Stars)
	p := k.planFor([]field{{name: "a", typ: textOID}, {name: "b", typ: textOID}}, nil, nil, false)
	good := message(nil, 'D', func(b []byte) []byte {
		return appendValue(appendValue(append(b, 0, 2), []byte("x")), nil)
	})
	for _, bad := range [][]byte{
		{'D', 0, 0, 0, 4}, {'D', 0, 0, 0, 5, 0}, {'D', 0, 0, 0, 6, 0, 1}, {'D', 0, 0, 0, 6, 0, 2}, {'D', 0, 0, 0, 14, 0, 2, 0, 0, 0, 9, 'x', 0, 0},
		{'D', 0, 0, 0, 14, 0, 2, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 0}, append(bytes.Clone(good[:5]), append([]byte{0, 2}, append(good[7:], 'x')...)...),
	} {
		bad = bytes.Clone(bad)
		binary.BigEndian.PutUint32(bad[1:], uint32(len(bad)-1))
		if _, _, _, err := k.rowsOf(nil, append(bytes.Clone(good), bad...), p); err == nil {
			t.Errorf("%q passed", bad)
		}
	}
}

// people are rows as the bench selects them.
func peopleRows(n int) []byte {
	var m []byte
	for i := range n {
		m = message(m, 'D', func(b []byte) []byte {
			b = append(b, 0, 6)
			for _, v := range []string{fmt.Sprint(i), fmt.Sprintf("Person number %d", i), fmt.Sprintf("user%d@example.com", i), fmt.Sprintf("4%015d", i*7919), "123-12-4567", "2020-01-02"} {
				b = appendValue(b, []byte(v))
			}
			return b
		})
	}
	return m
}

func BenchmarkBlock(b *testing.B) {
	k := aMasker(b, mask.Stars)
	stars, last4 := styleStars, styleLast4
	for _, bb := range []struct {
		name  string
		email bool
	}{{"masked", true}, {"clean", false}} {
		b.Run(bb.name, func(b *testing.B) {
			p := k.planFor([]field{{typ: pgtype.Int4OID}, {typ: textOID}, {typ: textOID}, {typ: textOID}, {typ: textOID}, {typ: pgtype.DateOID}}, nil, nil, false)
			p.columns[3].style, p.columns[4].style = &last4, &stars
			if !bb.email {
				p.columns[2].style = &stars
			}
			for i := range p.columns {
				p.columns[i].way = p.columns[i].wayOf()
			}
			rows := peopleRows(500)
			m, out := bytes.Clone(rows), make([]byte, 0, len(rows)+100)
			b.SetBytes(int64(len(rows)))
			b.ReportAllocs()
			for b.Loop() {
				copy(m, rows)
				if _, _, _, err := k.rowsOf(out, m, p); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500, "ns/row")
		})
	}
}
