package sql_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-ssh/sallyport/filters/sql"
	"github.com/sallyport-ssh/sallyport/filters/sql/grammar"
)

// one is text as facts; it must be one statement.
func one(t *testing.T, text string) sql.Statement {
	t.Helper()
	a := grammar.Parse(text)
	if a.Error != "" || len(a.Statements) != 1 {
		t.Fatalf("%q: %d statements, %s", text, len(a.Statements), a.Error)
	}
	return a.Statements[0]
}

func TestFacts(t *testing.T) {
	for _, tt := range []struct {
		text    string
		action  string
		classes string
		reads   string
		writes  string
		flags   string // unbounded, opaque, file, program
	}{
		{"select * from customers", "select", "read", "customers", "", ""},
		{"table shop.customers", "select", "read", "shop.customers", "", ""},
		{"select 1 from a, only b join c.d on true, lateral (select * from e) x", "select", "read", "a b c.d e", "", ""},
		{"select (select max(x) from f), array(select 1 from g) where exists (values (1))", "select", "read", "f g", "", ""},
		{`select * from "a.b"."C"`, "select", "read", `"a.b".C`, "", ""},

		// WITH hides names, only where it is in scope.
		{"with x as (select * from a) select * from x", "select", "read", "a", "", ""},
		{"with a as (select * from a) select * from a", "select", "read", "a", "", ""},
		{"with recursive a as (select 1 union select * from a) select * from a", "select", "read", "", "", ""},
		{"select * from customers where id in (with customers as (select 1) select * from customers)", "select", "read", "customers", "", ""},
		{"with x as (select 1), y as (select * from x, z) select * from y", "select", "read", "z", "", ""},
		{"with t as (select 1) select * from s.t", "select", "read", "s.t", "", ""},
		{"with t as (select 1) insert into t select * from t", "insert", "read write", "", "t", ""},
		{"with t as (select 1) update t set a = 1 where a = 2", "update", "read write", "t", "t", ""},

		// Changes, wherever they hide.
		{"insert into t values (1)", "insert", "read write", "", "t", ""},
		{"insert into t(a) values (1) on conflict (a) do update set a = 2 returning a", "insert", "read write", "t", "t", ""},
		{"update t set a = 1", "update", "write", "t", "t", "unbounded"},
		{"update t set a = 1 where true", "update", "write", "t", "t", "unbounded"},
		{"update t set a = 1 where 1 = 1 or 'x' = 'y'", "update", "write", "t", "t", "unbounded"},
		{"update t set a = 1 where id = id", "update", "write", "t", "t", "unbounded"},
		{"update t set a = 1 where id = 2", "update", "write", "t", "t", ""},
		{"update t set a = 1 where current of c", "update", "write", "t", "t", ""},
		{"delete from t", "delete", "write", "t", "t", "unbounded"},
		{"delete from t using u where t.id = u.id", "delete", "write", "t u", "t", ""},
		{"with x as (delete from t returning *) select * from x", "delete", "read write", "t", "t", "unbounded"},
		{"with x as (insert into t values (1)), y as (delete from u where a=1) select 1", "delete", "read write", "u", "t u", ""},
		{"merge into t using s on t.a = s.a when matched then delete", "merge", "write", "s t", "t", ""},
		{"merge into t using s on true when matched then delete", "merge", "write", "s t", "t", "unbounded"},
		{"select * into n from t", "create", "read write", "t", "n", ""},
		{"create table n as select * from t", "create", "read write", "t", "n", ""},
		{"explain delete from t", "explain", "read", "t", "", ""},
		{"create table n as execute p", "create", "read write", "", "n", "opaque"},
		{"explain analyze delete from t", "delete", "write", "t", "t", "unbounded"},
		{"explain (analyze false) delete from t", "explain", "read", "t", "", ""},
		{"explain (analyze on, verbose) select 1", "select", "read", "", "", ""},
		{"explain (analyze 0) delete from t", "explain", "read", "t", "", ""},
		{"prepare p as delete from t", "prepare", "read", "t", "", ""},
		{"declare c cursor for select * from t", "cursor", "read", "t", "", ""},
		{"update pg_settings set setting = 'x' where name = 'role'", "update", "privilege write", "pg_settings", "pg_settings", ""},

		// Files, programs, other hosts.
		{"copy t to stdout", "copy", "read", "t", "", ""},
		{"copy t from stdin", "copy", "write", "", "t", ""},
		{"copy (select * from t) to stdout (format csv)", "copy", "read", "t", "", ""},
		{"copy t to program 'cat >/x'", "copy", "exfiltration privilege read", "t", "", "program"},
		{"copy t from '/etc/passwd'", "copy", "exfiltration privilege write", "", "t", "file"},
		{"copy (delete from t returning *) to stdout", "delete", "read write", "t", "t", "unbounded"},
		{"select pg_read_file('/etc/passwd')", "select", "exfiltration privilege read", "", "", "file"},
		{`select "pg_catalog".PG_READ_FILE('/etc/passwd')`, "select", "exfiltration privilege read", "", "", "file"},
		{"select lo_import('/etc/passwd')", "select", "exfiltration privilege read", "", "", "file"},
		{"select * from dblink('host=x', 'select 1') as t(a int)", "select", "exfiltration read", "", "", "opaque"},
		{"select ext.dblink_exec('x')", "select", "exfiltration read", "", "", "opaque"},
		{"load 'x'", "other", "persistence privilege", "", "", ""},

		// Functions.
		{"select lower(a), count(*), now() from t where a ~ 'x' order by length(a)", "select", "read", "t", "", ""},
		{"select nextval('s')", "select", "read write", "", "", ""},
		{"select f(1)", "select", "read", "", "", "opaque"},
		{"select shop.lower('x')", "select", "read", "", "", "opaque"},
		{"select query_to_xml('delete from t', true, true, '')", "select", "read", "", "", "opaque"},
		{"select table_to_xml('customers', true, true, '')", "select", "read", "", "", "opaque"},
		{"select pg_terminate_backend(1)", "select", "privilege read", "", "", "opaque"},
		{"select * from t where f(a)", "select", "read", "t", "", "opaque"},
		{"select * from t tablesample f(1)", "select", "read", "t", "", "opaque"},
		{"call p(1)", "call", "write", "", "", "opaque"},
		{"do $$ begin end $$", "do", "interpreter write", "", "", "opaque"},

		// Settings and roles.
		{"set search_path to x", "session", "read", "", "", ""},
		{"set role admin", "session", "privilege read", "", "", ""},
		{"set session authorization admin", "session", "privilege read", "", "", ""},
		{"reset role", "session", "privilege read", "", "", ""},
		{"select set_config('role', 'admin', false)", "select", "privilege read", "", "", ""},
		{"select set_config('ro'||'le', 'admin', false)", "select", "privilege read", "", "", "opaque"},
		{"set session characteristics as transaction read write", "session", "read", "", "", ""},
		{"begin read write", "transaction", "read write", "", "", ""},
		{"prepare transaction 'x'", "transaction", "persistence read write", "", "", ""},

		// DDL and privileges.
		{"create table t (a int default f())", "create", "write", "", "t", "opaque"},
		{"drop table a.b, c", "drop", "destructive write", "", "a.b c", ""},
		{"truncate a, b", "truncate", "destructive write", "", "a b", ""},
		{"alter table t add b int", "alter", "write", "", "t", ""},
		{"grant select on t to x", "grant", "privilege", "", "t", ""},
		{"create role x superuser", "create", "privilege", "", "", ""},
		{"alter system set a = 1", "alter", "persistence privilege", "", "", ""},
		{"create subscription s connection 'x' publication p", "create", "exfiltration persistence privilege", "", "", ""},
		{"vacuum t", "maintain", "write", "", "t", ""},
		{"create rule r as on select to t do instead delete from u", "create", "persistence write", "", "t u", "unbounded"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			s := one(t, tt.text)
			var flags []string
			for name, on := range map[string]bool{"unbounded": s.Unbounded, "opaque": s.Context("")["opaque"].(bool), "file": s.File, "program": s.Program} {
				if on {
					flags = append(flags, name)
				}
			}
			slices.Sort(flags)
			got := []string{s.Action, strings.Join(s.Classes, " "), strings.Join(s.Reads, " "), strings.Join(s.Writes, " "), strings.Join(flags, " ")}
			want := []string{"sql:" + tt.action, tt.classes, tt.reads, tt.writes, tt.flags}
			if !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q\nwhy %q", got, want, s.Why)
			}
		})
	}
}

// TestSplit cuts texts into statements, to the byte.
func TestSplit(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"", nil},
		{" ;; -- nothing\n", nil},
		{"select 1; select 2", []string{"select 1", " select 2"}},
		{"select ';' ; select $a$;$b$;$a$ /* ; /* ; */ ; */; select E'\\';'--'", []string{"select ';' ", " select $a$;$b$;$a$ /* ; /* ; */ ; */", " select E'\\';'--'"}},
		{"select '\\'; drop table x; --'", []string{"select '\\'", " drop table x"}},
		{`select U&'\0027; x' ; select ";"`, []string{`select U&'\0027; x' `, ` select ";"`}},
		{"select 'é'; select 'ü' ; ", []string{"select 'é'", " select 'ü' "}},
		{"create function f() returns int begin atomic select 1; select 2; end; select 3", []string{"create function f() returns int begin atomic select 1; select 2; end", " select 3"}},
	} {
		var got []string
		for _, s := range grammar.Parse(tt.text).Statements {
			got = append(got, tt.text[s.Start:s.End])
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q: got %q, want %q", tt.text, got, tt.want)
		}
	}
}

// TestCheck keeps from the grammar what could mean something else to the server, or crash it.
func TestCheck(t *testing.T) {
	sure := sql.Session{PlainBackslash: true, UTF8: true}
	for _, tt := range []struct {
		name string
		text string
		s    sql.Session
		want string
	}{
		{"plain", "select 'é\\'", sure, ""},
		{"backslash, setting off", `select '\'; drop table x; --'`, sql.Session{UTF8: true}, "backslash"},
		{"no backslash, setting off", `select ''';'`, sql.Session{UTF8: true}, ""},
		{"a byte that is half a character", "select '\x95\\'", sql.Session{PlainBackslash: true}, "ASCII"},
		{"broken UTF-8", "select '\xff'", sure, "UTF-8"},
		{"zero byte", "select 1\x00; drop table x", sure, "zero"},
		{"deep", strings.Repeat("(", 500) + "1" + strings.Repeat(")", 500), sure, "deep"},
		{"long chain", "select 1" + strings.Repeat("+1", 100000), sure, "operators"},
		{"long chain of words", "select true" + strings.Repeat(" and true", 30000), sure, "operators"},
		{"long", strings.Repeat(" ", sql.MaxText+1), sure, "longer"},
	} {
		if got := sql.Check(tt.text, tt.s); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestCopyOptions(t *testing.T) {
	s := one(t, `copy shop.t (a, "b c") to stdout with (format csv, header, delimiter ';', quote '''', escape '\', null 'N')`)
	want := sql.Copy{Relation: "shop.t", Columns: []string{"a", "b c"}, Format: "csv", Header: true, Delimiter: ";", Quote: "'", Escape: `\`, Null: "N"}
	if s.CopyOut == nil || s.CopyOut.Relation != want.Relation || !slices.Equal(s.CopyOut.Columns, want.Columns) || s.CopyOut.Format != want.Format ||
		!s.CopyOut.Header || s.CopyOut.Delimiter != ";" || s.CopyOut.Quote != "'" || s.CopyOut.Escape != `\` || s.CopyOut.Null != "N" {
		t.Errorf("got %+v", s.CopyOut)
	}
	if s := one(t, "copy t to stdout csv header"); s.CopyOut.Format != "csv" || !s.CopyOut.Header {
		t.Errorf("old syntax: %+v", s.CopyOut)
	}
	if s := one(t, "copy t to stdout (encoding 'sjis')"); !s.Opaque {
		t.Error("another encoding is not opaque")
	}
}
