package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// secret is a card's number, as text and as numbers; types that can hold it are tried with it.
const secret = "4111111111111111"

// samples are a value of every type of PostgreSQL's own, as the server reads it.
var samples = map[string]string{
	"text": secret, "varchar": secret, "bpchar": secret, "name": secret, "refcursor": secret, "bytea": secret, "xml": "<a>" + secret + "</a>",
	"json": `{"a": "` + secret + `"}`, "jsonb": `{"a": "` + secret + `"}`, "jsonpath": `$."` + secret + `"`,
	"tsvector": "'" + secret + "':1 'b':2", "tsquery": "'" + secret + "' & 'b'", "int8": secret, "numeric": secret,
	"int8range": "[1," + secret + ")", "numrange": "[1," + secret + "]", "int8multirange": "{[1," + secret + ")}", "nummultirange": "{[1," + secret + "]}",
	"bool": "true", "char": "x", "int2": "7", "int4": "7", "float4": "1.5", "float8": "1.5", "oid": "7", "tid": "(1,2)", "xid": "7", "cid": "7",
	"xid8": "7", "pg_lsn": "1/2", "uuid": "00112233-4455-6677-8899-aabbccddeeff", "money": "12.50", "date": "2026-12-01", "time": "01:02:03",
	"timetz": "01:02:03+00", "timestamp": "2026-12-01 01:02:03", "timestamptz": "2026-12-01 01:02:03+00", "interval": "1 day", "inet": "10.0.0.1",
	"cidr": "10.0.0.0/8", "macaddr": "08:00:2b:01:02:03", "macaddr8": "08:00:2b:01:02:03:04:05", "bit": "1", "varbit": "101", "point": "(1,2)",
	"lseg": "[(1,2),(3,4)]", "path": "((1,2),(3,4))", "box": "(3,4),(1,2)", "polygon": "((1,2),(3,4))", "line": "{1,2,3}", "circle": "<(1,2),3>",
	"int4range": "[1,5)", "daterange": "[2026-01-01,2026-02-01)", "tsrange": "[2026-01-01,2026-02-01)", "tstzrange": "[2026-01-01,2026-02-01)",
	"int4multirange": "{[1,5)}", "datemultirange": "{[2026-01-01,2026-02-01)}", "tsmultirange": "{[2026-01-01,2026-02-01)}", "tstzmultirange": "{[2026-01-01,2026-02-01)}",
	"txid_snapshot": "10:20:15", "pg_snapshot": "10:20:15", "int2vector": "1 2", "oidvector": "1 2", "aclitem": "",
	"regproc": "now", "regprocedure": "now()", "regoper": "|/", "regoperator": "+(int4,int4)", "regclass": "pg_class", "regtype": "int4", "regrole": "tester",
	"regnamespace": "pg_catalog", "regconfig": "simple", "regdictionary": "simple", "regcollation": "\"C\"",
	// Nothing can be given as one of these.
	"pg_node_tree": "", "pg_ndistinct": "", "pg_dependencies": "", "pg_mcv_list": "", "pg_brin_bloom_summary": "", "pg_brin_minmax_multi_summary": "", "gtsvector": "",
}

// blinded are types whose binary form is not read: their values are NULL there.
var blinded = map[string]bool{"tsquery": true}

// leaks tells whether the secret is in a message in any of its forms.
func leaks(raw []byte) bool {
	n, _ := strconv.ParseInt(secret, 10, 64)
	forms := [][]byte{[]byte(secret), binary.BigEndian.AppendUint64(nil, uint64(n)), {0x10, 0x0f, 0x04, 0x57, 0x04, 0x57, 0x04, 0x57}, []byte(fmt.Sprintf("%x", secret))}
	for _, f := range forms {
		if bytes.Contains(raw, f) {
			return true
		}
	}
	return false
}

// made are types of somebody's own, around the secret.
const made = `create extension if not exists hstore; create extension if not exists citext; create type mood as enum ('4111111111111111', 'calm');
	create domain code as text; create domain deep as code; create domain amount as int8; create type pair as (a text, b int8); create type nest as (p pair, q text[]);
	create type span as range (subtype = text); create domain spans as span; create type fspan as range (subtype = float8);
	grant usage on schema public to app; create table bag (id int, t text, n numeric, i int8, j jsonb, p pair, arr text[], m mood, d deep, h hstore, r span, b bytea, plain text);
	insert into bag values (1, '4111111111111111', 4111111111111111, 4111111111111111, '{"a":"4111111111111111"}', ('4111111111111111', 4111111111111111),
		'{4111111111111111,x}', '4111111111111111', '4111111111111111', 'k=>4111111111111111', '[4111111111111111,z)', '4111111111111111', E'tab\t"quote"\\nothing'),
		(2, null, 1.5, 2, '{}', null, '{}', 'calm', 'y', '', 'empty', '\x00ff', null);`

var madeSamples = map[string]string{
	"hstore": "'k=>4111111111111111'::hstore", "citext": "'4111111111111111'::citext", "mood": "'4111111111111111'::mood", "code": "'4111111111111111'::code",
	"deep": "'4111111111111111'::deep", "amount": "4111111111111111::amount", "pair": "('4111111111111111', 4111111111111111)::pair",
	"nest": "(('x', 4111111111111111)::pair, array['4111111111111111'])::nest", "array of pair": "array[('4111111111111111', 1)::pair]",
	"array of deep": "array['4111111111111111'::deep]", "span": "span('4111111111111111', '5')", "spans": "'[4111111111111111,5]'::spans",
	"multirange": "span_multirange(span('4111111111111111', '5'))", "anonymous": "row('4111111111111111'::text, 4111111111111111)",
	"floats": "'[1.5,2.5]'::fspan", "calm": "'calm'::mood", "whole row": "bag from bag where id = 1",
}

// TestEveryType looks for a secret in every type that the server has, in text and in binary, by itself and in arrays; and
// sees values that hold none as they are.
func TestEveryType(t *testing.T) {
	gt := start(t, made, &guard{})
	c := gt.connect("").PgConn()
	direct, err := pgx.Connect(t.Context(), server.URL(gt.database))
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close(context.Background())
	look := func(name, expression string, mayBlind bool) {
		t.Helper()
		for _, format := range []int16{0, 1} {
			want := direct.PgConn().ExecParams(t.Context(), "select "+expression, nil, nil, nil, []int16{format}).Read()
			got := c.ExecParams(t.Context(), "select "+expression, nil, nil, nil, []int16{format}).Read()
			if want.Err != nil {
				if format == 0 || code(want.Err) != "42883" || code(got.Err) != "42883" { // 42883: the type has no binary form
					t.Errorf("%s: %v, directly %v", name, got.Err, want.Err)
				}
				continue
			}
			if got.Err != nil {
				t.Fatalf("%s: %v, %v", name, got.Err, gt.failures())
			}
			was, now := want.Rows[0][0], got.Rows[0][0]
			switch {
			case leaks(now):
				t.Errorf("%s in format %d: the secret came through: %q", name, format, now)
			case !leaks(was) && !bytes.Equal(was, now) && !(mayBlind && format == 1):
				t.Errorf("%s in format %d: %q became %q", name, format, was, now)
			}
		}
	}
	names := strings.Split(query(t, gt.database, `select typname from pg_type where typtype in ('b', 'r', 'm') and typisdefined and oid < 16384
		and typcategory <> 'A' order by 1`), "\n")
	if len(names) < 70 {
		t.Fatalf("only %d types", len(names))
	}
	for _, name := range names {
		sample, ok := samples[name]
		if !ok {
			t.Errorf("the type %s has no sample", name)
		}
		if sample == "" {
			continue
		}
		quoted := `pg_catalog."` + name + `"`
		sample = strings.ReplaceAll(sample, "'", "''")
		look(name, "'"+sample+"'::"+quoted, blinded[name])
		look("array of "+name, "array['"+sample+"'::"+quoted+", null]", blinded[name])
		look("record of "+name, "row('"+sample+"'::"+quoted+", 1)", blinded[name])
	}
	for name, expression := range madeSamples {
		look(name, expression, false)
	}
}

// TestBinaryCopy copies in binary, both ways.
func TestBinaryCopy(t *testing.T) {
	gt := start(t, made, &guard{}, Protected{"public.bag", "plain", "last4"})
	c := gt.connect("").PgConn()
	var masked, clear, again bytes.Buffer
	if _, err := c.CopyTo(t.Context(), &masked, "copy bag to stdout binary"); err != nil {
		t.Fatal(err, gt.failures())
	}
	if leaks(masked.Bytes()) || bytes.Contains(masked.Bytes(), []byte("quote")) {
		t.Errorf("the secret came through: %q", masked.Bytes())
	}
	direct, err := pgx.Connect(t.Context(), server.URL(gt.database))
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close(context.Background())
	if _, err := direct.PgConn().CopyTo(t.Context(), &clear, "copy bag to stdout binary"); err != nil {
		t.Fatal(err)
	}
	// What was masked is still what the server reads, but for an enum that has no such value; and what is written in binary arrives as it is.
	exec(t, gt.database, "create table back (like bag); alter table back alter m type text; create table there (like bag); grant all on back, there to app")
	if _, err := direct.PgConn().CopyFrom(t.Context(), bytes.NewReader(masked.Bytes()), "copy back from stdin binary"); err != nil {
		t.Errorf("the server does not read what was masked: %v", err)
	}
	if got := query(t, gt.database, "select id, n, h, m from back where id = 2"); got != "2|1.5||calm" {
		t.Errorf("what holds no secret became %q", got)
	}
	if _, err := c.CopyFrom(t.Context(), bytes.NewReader(clear.Bytes()), "copy there from stdin binary"); err != nil {
		t.Fatal(err, gt.failures())
	}
	if _, err := direct.PgConn().CopyTo(t.Context(), &again, "copy there to stdout binary"); err != nil || !bytes.Equal(clear.Bytes(), again.Bytes()) {
		t.Errorf("copied in and out it is another: %v", err)
	}
	// Of a query the types are not known: what is no text and not short is NULL.
	masked.Reset()
	if _, err := c.CopyTo(t.Context(), &masked, "copy (select id, t, i, n from bag) to stdout binary"); err != nil || leaks(masked.Bytes()) {
		t.Errorf("a query: %v, %q", err, masked.Bytes())
	}
}

// TestCopyOddly writes values in all ways that COPY has; no secret is seen, and what is masked is read back.
func TestCopyOddly(t *testing.T) {
	gt := start(t, `create table odd (id int, a text, b text); insert into odd values (1, '4111 1111 1111 1111', 'x'), (2, E'a\t4111111111111111\n\\b', 'it''s "so"'),
		(3, '4111111111111111', null), (4, '\x', ''), (5, 'NULL', E'\\N'); create table back (like odd)`, &guard{})
	c := gt.connect("").PgConn()
	direct, err := pgx.Connect(t.Context(), server.URL(gt.database))
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close(context.Background())
	for _, options := range []string{
		"", "(delimiter '|')", "(delimiter ' ')", "(null 'none')", "(format csv)", "(format csv, header)", "(format csv, delimiter '1')", "(format csv, delimiter ' ')",
		"(format csv, quote '''')", "(format csv, quote '1')", "(format csv, quote '1', escape '4')", `(format csv, escape '\')`, "(format csv, force_quote *)",
		"(format csv, null 'none')", `(format csv, delimiter E'\t', quote '|', escape '^')`,
	} {
		var out bytes.Buffer
		if _, err := c.CopyTo(t.Context(), &out, "copy odd to stdout "+options); err != nil {
			t.Fatalf("%s: %v, %v", options, err, gt.failures())
		}
		text := out.String()
		exec(t, gt.database, "truncate back")
		back := strings.Replace(options, ", force_quote *", "", 1)
		if _, err := direct.PgConn().CopyFrom(t.Context(), &out, "copy back from stdin "+back); err != nil {
			t.Errorf("%s: the server does not read what was masked: %v: %q", options, err, text)
		}
		if n := query(t, gt.database, `select count(*) from back where a ~ '4111 ?1111 ?1111' or id = 2 and a !~ E'^a\t[0-9*]+\n.b$'`); n != "0" {
			t.Errorf("%s: %q", options, text)
		}
		if same := query(t, gt.database, "select count(*) from back join odd using (id) where back.b is not distinct from odd.b and (id < 4 or back.a = odd.a)"); same != "5" {
			t.Errorf("%s: %s of 5 rows are as they were: %q", options, same, text)
		}
	}
}
