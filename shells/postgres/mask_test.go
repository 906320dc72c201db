package postgres

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// vault has values that no detector knows, so that only their origin can give them away.
const vault = `
	create table vault (id int primary key, owner text, secret text, pin int, note json, data bytea);
	insert into vault values (1, 'amara', 'open-sesame-one', 4711, '{"k": "open-sesame-json"}', 'open-sesame-data'), (2, 'bruno', null, null, null, null);
	create table parts (id int, secret text) partition by range (id);
	create table parts1 partition of parts for values from (0) to (10);
	insert into parts values (1, 'open-sesame-part');
	create table child () inherits (vault);
	insert into child values (3, 'child', 'open-sesame-child', 1);
	create view plain as select id, owner, secret as renamed from vault;
	create view deep as select p.renamed as again, upper(p.renamed) as made, p.id from plain p;
	create view unions as select secret from vault union all select owner from vault;
	create materialized view stored as select secret, owner from vault;
	create table other (id int, name text); insert into other values (1, 'public-name');
	create schema priv; grant usage on schema priv to app; create table priv.other (id int); grant all on all tables in schema priv to app;
	alter table vault add constraint one unique (secret);
	create function peek() returns text language sql security definer as $$ select secret from vault where id = 1 $$;
	create function warn() returns void language plpgsql as $$ begin raise notice 'found %', (select secret from vault where id = 1); end $$;
	analyze vault;
`

var vaultColumns = []Protected{
	{"public.vault", "secret", "stars"}, {"public.vault", "pin", ""}, {"public.vault", "note", ""}, {"public.vault", "data", ""},
	{"public.parts", "secret", "stars"},
}

// TestOrigin finds protected values wherever they come out: "sesame" must be in nothing that a client sees, nor
// in the record.
func TestOrigin(t *testing.T) {
	g := &guard{}
	gt := start(t, vault, g, vaultColumns...)
	for _, text := range []string{
		"select * from vault", "table vault", "select secret from vault", "select v.secret as x from vault v", "select x from (select secret as x from vault) s",
		"with s as (select secret from vault) select * from s", "select secret::varchar(100) from vault", "select distinct secret from vault",
		"select a.secret, b.name from vault a left join other b on a.id = b.id", "update vault set owner = owner where id = 1 returning secret",
		"select lower(secret) from vault", "select secret || '' from vault", "select max(secret) from vault", "select array_agg(secret) from vault",
		"select string_agg(secret, ',') from vault", "select to_json(v) from vault v", "select v from vault v", "select row(v.*) from vault v",
		"select (select secret from vault where id = 1)", "select secret from vault union select 'x'", "select substr(secret, 1, 13) from vault",
		"select coalesce(secret, '') from vault", "select case when true then secret end from vault", "select note->>'k' from vault", "select note from vault",
		"select encode(data, 'escape') from vault", "select convert_from(data, 'utf8') from vault", "select data from vault",
		"select * from plain", "select renamed from plain", "select * from deep", "select made from deep", "select * from unions", "select * from stored",
		"select * from parts", "select * from parts1", "select * from child", "select secret from only child", "select tableoid::regclass, * from parts",
		"select most_common_vals, histogram_bounds::text from pg_stats where tablename = 'vault'", "select histogram_bounds from pg_stats",
		"select peek()", "select * from peek()", "select query_to_xml('select * from vault', true, true, '')", "select table_to_xml('vault', true, true, '')",
		"select xmlelement(name x, secret) from vault", "select json_agg(vault) from vault", "select * from json_to_recordset((select json_agg(v) from vault v)) as x(secret text)",
		"copy vault to stdout", "copy vault (secret) to stdout", "copy vault to stdout csv header", "copy (select secret from vault) to stdout", "copy (select * from deep) to stdout csv",
		"copy parts to stdout", "copy vault to stdout with (format csv, delimiter ';', quote '''', force_quote *)", "copy parts1 to stdout",
		"begin; declare c cursor for select secret from vault; fetch all from c; commit", "begin; declare c cursor for select lower(secret) from vault; fetch 1 from c; move 1 in c; commit",
		"prepare p as select secret, lower(secret) from vault; execute p; deallocate p",
		"explain analyze select * from vault where secret = 'open-sesame-one'", "select warn()", "select 1/0 from vault where warn() is null",
		"insert into vault (id, secret) values (9, 'open-sesame-one')", "select secret::int from vault", "select ('x' || secret)::xml from vault where id = 1 -- ",
		"select cast(secret as date) from vault", "select set_config('application_name', secret, false) from vault where id = 1",
		"select pg_notify('c', secret) from vault", "do $$ begin raise exception 'it is %', (select secret from vault where id = 1); end $$",
		"set search_path = priv, public; select secret from vault; set search_path = default", "select secret as name, name from vault, other",
		"select secret from vault where false union all select secret from vault", "select (v).secret from (select v from vault v) x", "select row_to_json(x) from (select secret from vault) x",
		"create temp table mine as select secret from vault; select * from mine; drop table mine", "listen c; notify c, 'x'",
		"select * from vault natural full join other", "select id, secret from vault v full join (select id from other) o using (id)",
	} {
		t.Run(text, func(t *testing.T) {
			c := gt.raw()
			out := bytes.ToLower(c.run(text))
			if i := bytes.Index(out, []byte("sesame")); i >= 0 {
				t.Errorf("it came out: %q", out[max(0, i-40):min(len(out), i+40)])
			}
			for _, hex := range []string{"736573616d65"} {
				if bytes.Contains(out, []byte(hex)) {
					t.Errorf("it came out in hexadecimal")
				}
			}
			c.close()
		})
	}
	shown := g.transcript()
	for _, line := range strings.Split(shown, "\n") {
		if strings.Contains(line, "sesame") && !strings.HasPrefix(line, "=> ") && !strings.Contains(line, "QUERY PLAN") {
			t.Errorf("the record has %q", line)
		}
	}
}

// TestOriginExtended is the same for prepared statements, in text and in binary.
func TestOriginExtended(t *testing.T) {
	gt := start(t, vault, &guard{}, vaultColumns...)
	for _, text := range []string{
		"select * from vault", "select secret, pin, note, data from vault", "select lower(secret) from vault", "select v from vault v", "select array_agg(secret) from vault",
		"select renamed from plain", "select * from deep", "select note from vault", "select secret from parts",
	} {
		for _, format := range []int16{0, 1} {
			t.Run(fmt.Sprintf("%s format %d", text, format), func(t *testing.T) {
				c := gt.connect("").PgConn()
				r := c.ExecParams(t.Context(), text, nil, nil, nil, []int16{format}).Read()
				if r.Err != nil {
					t.Fatal(r.Err, gt.failures())
				}
				check := func(rows [][][]byte) {
					for _, row := range rows {
						for _, v := range row {
							if bytes.Contains(bytes.ToLower(v), []byte("sesame")) {
								t.Errorf("it came out: %q", v)
							}
						}
					}
				}
				check(r.Rows)
				// Prepared, and run without being described again.
				if _, err := c.Prepare(t.Context(), "p", text, nil); err != nil {
					t.Fatal(err)
				}
				r = c.ExecPrepared(t.Context(), "p", nil, nil, []int16{format}).Read()
				if r.Err != nil {
					t.Fatal(r.Err, gt.failures())
				}
				check(r.Rows)
			})
		}
	}
}

// TestReplanned describes a statement when its names mean a table of the client's own, and runs it when they
// mean the protected one: the server plans anew, and the columns come from elsewhere.
func TestReplanned(t *testing.T) {
	gt := start(t, vault, &guard{}, vaultColumns...)
	c := gt.connect("").PgConn()
	run := func(text string) {
		t.Helper()
		if _, err := c.Exec(t.Context(), text).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	run("create temp table vault (secret text); insert into vault values ('mine')")
	if _, err := c.Prepare(t.Context(), "p", "select secret from vault", nil); err != nil {
		t.Fatal(err)
	}
	r := c.ExecPrepared(t.Context(), "p", nil, nil, nil).Read()
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	run("drop table pg_temp.vault")
	r = c.ExecPrepared(t.Context(), "p", nil, nil, nil).Read()
	if r.Err != nil {
		t.Fatal(r.Err, gt.failures())
	}
	if len(r.Rows) < 2 || bytes.Contains(r.Rows[0][0], []byte("sesame")) {
		t.Errorf("got %q", r.Rows)
	}
}

// TestStyles are what stands in the place of values.
func TestStyles(t *testing.T) {
	gt := start(t, `create table s (id int, a text, b text, c text, d text, e int, f json, h text);
		insert into s values (1, 'stars-é', 'last-four-1234', 'token-me', 'gone', 5, '{}', ''), (2, null, 'short', 'token-me', 'x', null, null, 'open')`,
		&guard{}, Protected{"public.s", "a", ""}, Protected{"public.s", "b", "last4"}, Protected{"public.s", "c", "token"},
		Protected{"public.s", "d", "null"}, Protected{"public.s", "e", ""}, Protected{"public.s", "f", ""})
	c := gt.connect("")
	rows, err := c.Query(t.Context(), "select a, b, c, d, e::int4, f, h, id from s order by id", pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for rows.Next() {
		var line []string
		for _, v := range rows.RawValues() {
			if v == nil {
				line = append(line, "NULL")
				continue
			}
			line = append(line, string(v))
		}
		got = append(got, strings.Join(line, "|"))
	}
	if len(got) != 2 {
		t.Fatal(got, rows.Err(), gt.failures())
	}
	first, second := strings.Split(got[0], "|"), strings.Split(got[1], "|")
	if first[0] != "*******" || first[1] != "**********1234" || first[3] != "NULL" || first[4] != "NULL" || first[5] != `"***"` || first[6] != "" || first[7] != "1" {
		t.Errorf("got %q", first)
	}
	if second[0] != "NULL" || second[1] != "*****" || second[2] != first[2] || !strings.HasPrefix(first[2], "masked:") || second[6] != "open" {
		t.Errorf("got %q after %q", second, first)
	}
	out := string(gt.raw().run("copy s (b, c, id) to stdout csv"))
	if !strings.Contains(out, "**********1234,masked:") || !strings.Contains(out, ",1\n") {
		t.Errorf("copy: %q", out)
	}
}

// TestDetectors finds secrets by what they look like, in every type and format.
func TestDetectors(t *testing.T) {
	const card = "4111111111111111"
	gt := start(t, "create table cards (n text); insert into cards values ('"+card+"'); create type pair as (a text, b int)", &guard{})
	for _, text := range []string{
		"select '4111111111111111'::text", "select 4111111111111111::int8", "select 4111111111111111::numeric", "select '{4111111111111111}'::text[]",
		"select array[4111111111111111::int8]", "select array['4111111111111111'::varchar]", "select row('4111111111111111', 2)", "select row('4111111111111111', 2)::pair",
		"select '{\"n\": \"4111111111111111\"}'::json", "select '{\"n\": 4111111111111111}'::jsonb", "select '<a>4111111111111111</a>'::xml", "select '4111111111111111'::bytea",
		"select int8range(4111111111111111, 5000000000000000)", "select numrange(1, 4111111111111111)", "select '{[4111111111111111,5000000000000000)}'::int8multirange",
		"select n from cards", "select cards from cards", "select array_agg(cards) from cards", "select ('4111111111111111'::text)::name", "select '4111111111111111'::char(20)",
		"select '4111111111111111'::unknown",
	} {
		for _, format := range []int16{0, 1} {
			t.Run(fmt.Sprintf("%s format %d", text, format), func(t *testing.T) {
				c := gt.connect("").PgConn()
				r := c.ExecParams(t.Context(), text, nil, nil, nil, []int16{format}).Read()
				if r.Err != nil {
					t.Fatal(r.Err, gt.failures())
				}
				v := r.Rows[0][0]
				for _, secret := range [][]byte{[]byte(card), []byte("111111111111"), {0x00, 0x0e, 0x9a, 0xf9, 0xd7, 0xf1, 0xc7}, []byte("31313131313131313131")} {
					if bytes.Contains(v, secret) {
						t.Errorf("it came out: %q", v)
					}
				}
			})
		}
	}
	for _, text := range []string{
		"do $$ begin raise notice '4111111111111111'; end $$", "do $$ begin raise exception '4111111111111111' using detail = '4111111111111111', hint = 'x 4111111111111111'; end $$",
		"listen c; select pg_notify('c', '4111111111111111')", "set application_name = 'x 4111111111111111'", "copy cards to stdout", "select '4111111111111111'::int", "explain select '4111111111111111'",
	} {
		if out := gt.raw().run(text); bytes.Contains(out, []byte(card)) {
			t.Errorf("%s: it came out", text)
		}
	}
}

// TestClear lets a client see clear text; what is recorded is masked all the same.
func TestClear(t *testing.T) {
	g := &guard{clear: true}
	gt := start(t, vault, g, vaultColumns...)
	if out := gt.raw().run("select secret from vault where id = 1"); !bytes.Contains(out, []byte("open-sesame-one")) {
		t.Errorf("got %q", out)
	}
	if out := gt.raw().run("copy vault to stdout"); !bytes.Contains(out, []byte("open-sesame-one")) {
		t.Errorf("got %q", out)
	}
	if shown := g.transcript(); strings.Contains(shown, "sesame") || !strings.Contains(shown, "***") {
		t.Errorf("the record has %q", shown)
	}
}

// A rawClient sees every byte that the gate sends.
type rawClient struct {
	gt *gate
	c  *pgconn.HijackedConn
}

func (g *gate) raw() *rawClient {
	h, err := g.connect("").PgConn().Hijack()
	if err != nil {
		g.t.Fatal(err)
	}
	return &rawClient{g, h}
}

// run sends a simple query and returns all of the answer.
func (r *rawClient) run(text string) []byte {
	r.gt.t.Helper()
	if _, err := r.c.Conn.Write(message(nil, 'Q', func(b []byte) []byte { return appendText(b, text) })); err != nil {
		r.gt.t.Fatal(err)
	}
	f := newFrames(r.c.Conn, 1<<20)
	var all []byte
	for {
		m, err := f.next()
		if err != nil {
			r.gt.t.Fatalf("%s: %v, %v, after %q", text, err, r.gt.failures(), all)
		}
		all = append(all, m...)
		if m[0] == 'Z' {
			return all
		}
	}
}

func (r *rawClient) close() { r.c.Conn.Close() }
