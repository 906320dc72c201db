package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// denied tells whether err is the gate's refusal.
func denied(t *testing.T, err error) {
	t.Helper()
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "42501" || !strings.Contains(pg.Hint, "policy") {
		t.Errorf("got %v, want a refusal with its policy", err)
	}
}

// TestRefusalInTransaction leaves the transaction as an error does: what came before is undone.
func TestRefusalInTransaction(t *testing.T) {
	g := &guard{admit: refuse("forbidden")}
	gt := start(t, "create table t (a int)", g)
	for _, mode := range []string{"simple_protocol", "exec", "cache_statement"} {
		t.Run(mode, func(t *testing.T) {
			c := gt.connect("default_query_exec_mode=" + mode)
			for _, text := range []string{"begin", "insert into t values (1)"} {
				if _, err := c.Exec(t.Context(), text); err != nil {
					t.Fatal(err, gt.failures())
				}
			}
			if s := c.PgConn().TxStatus(); s != 'T' {
				t.Errorf("in transaction: %c", s)
			}
			_, err := c.Exec(t.Context(), "select 1 as forbidden")
			denied(t, err)
			if s := c.PgConn().TxStatus(); s != 'E' {
				t.Errorf("after the refusal: %c, want E", s)
			}
			var pg *pgconn.PgError
			if _, err := c.Exec(t.Context(), "select 1"); !errors.As(err, &pg) || pg.Code != "25P02" {
				t.Errorf("in the failed transaction: %v", err)
			}
			if tag, err := c.Exec(t.Context(), "commit"); err != nil || tag.String() != "ROLLBACK" {
				t.Errorf("commit: %v, %v", tag, err)
			}
			if n := query(t, gt.database, "select count(*) from t"); n != "0" {
				t.Errorf("%s rows are left", n)
			}
			if _, err := c.Exec(t.Context(), "select 1"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNothingOfABatchIsSent refuses the last of several statements, and nothing of the first has happened.
func TestNothingOfABatchIsSent(t *testing.T) {
	g := &guard{admit: refuse("forbidden")}
	gt := start(t, "create table t (a int); create sequence s", g)
	c := gt.connect("")
	_, err := c.PgConn().Exec(t.Context(), "select nextval('s'); insert into t values (1); select 1 as forbidden; select 2").ReadAll()
	denied(t, err)

	var b pgx.Batch
	b.Queue("select nextval('s')")
	b.Queue("insert into t values ($1)", 2)
	b.Queue("select $1::int as forbidden", 3)
	b.Queue("select 4")
	denied(t, c.SendBatch(t.Context(), &b).Close())

	if got := query(t, gt.database, "select is_called from s"); got != "f" {
		t.Error("the sequence has moved: something was sent")
	}
	if got := query(t, gt.database, "select count(*) from t"); got != "0" {
		t.Errorf("%s rows", got)
	}
	var n int
	if err := c.QueryRow(t.Context(), "select 5").Scan(&n); err != nil || n != 5 {
		t.Errorf("after it: %d, %v", n, err)
	}
}

// TestPipeline sends several groups at once: those before and after a refused one run.
func TestPipeline(t *testing.T) {
	g := &guard{admit: refuse("forbidden")}
	gt := start(t, "create table t (a int)", g)
	p := gt.connect("").PgConn().StartPipeline(t.Context())
	for _, text := range []string{"insert into t values (1)", "select 1 as forbidden", "insert into t values (3)"} {
		p.SendQueryParams(text, nil, nil, nil, nil)
		if err := p.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	var errs []error
	for {
		r, err := p.GetResults()
		if err == nil && r == nil {
			break
		}
		if rr, ok := r.(*pgconn.ResultReader); ok {
			_, err = rr.Close()
		}
		if err != nil {
			errs = append(errs, err)
		}
		if len(errs) > 3 {
			break
		}
	}
	if err := p.Close(); err != nil && len(errs) == 0 {
		errs = append(errs, err)
	}
	if len(errs) != 1 {
		t.Fatalf("got %v, want one refusal", errs)
	}
	denied(t, errs[0])
	if got := query(t, gt.database, "select string_agg(a::text, ',' order by a) from t"); got != "1,3" {
		t.Errorf("rows %q", got)
	}
}

// TestHiding are ways to have a statement run under the name of another.
func TestHiding(t *testing.T) {
	g := &guard{admit: func(_ context.Context, s Statement, _ func(Held)) error {
		if s.Action == "sql:delete" || s.Facts["opaque"].(bool) {
			return &Refusal{Message: "no", Hint: "policy no-delete"}
		}
		return nil
	}}
	gt := start(t, "create table t (a int); insert into t values (1), (2)", g)
	for _, tt := range []struct {
		name  string
		steps []string // each a simple query; the last must be refused
	}{
		{"plain", []string{"delete from t"}},
		{"comment", []string{"/* x */ select 1; --\n delete /* */ from t"}},
		{"nested comment", []string{"select 1 /* /* */ ; */; delete from t"}},
		{"dollar quotes", []string{"select $a$ ' $a$; delete from t --'"}},
		{"escape string", []string{`select E'\''; delete from t --'`}},
		{"conforming string", []string{`select '\'; delete from t --'`}},
		{"with", []string{"with x as (delete from t returning *) select * from x"}},
		{"explain analyze", []string{"explain analyze delete from t"}},
		{"prepare", []string{"prepare p as delete from t", "execute p"}},
		{"prepare and execute at once", []string{"prepare q as delete from t; execute q"}},
		{"prepare again", []string{"deallocate all", "prepare p as select 1", "deallocate p", "prepare p as delete from t", "execute p"}},
		{"do", []string{"do $$ begin delete from t; end $$"}},
		{"function", []string{"select query_to_xml('delete from t', true, true, '')"}},
		{"cursor", []string{"begin; declare c cursor for with x as (delete from t returning *) select * from x"}},
		{"copy", []string{"copy (delete from t returning *) to stdout"}},
		{"strings off", []string{"set standard_conforming_strings = off", `select '\'; select 1 --'; delete from t --'`}},
		{"strings off by function", []string{"select set_config('standard_conforming_strings', 'off', false)", `select '\'' ; delete from t -- '`}},
		{"unknown prepared statement", []string{"execute nobody"}},
		{"create table as execute", []string{"deallocate all", "prepare p as select 1", "create table u as execute p"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := gt.connect("")
			last := len(tt.steps) - 1
			for _, text := range tt.steps[:last] {
				if _, err := c.PgConn().Exec(t.Context(), text).ReadAll(); err != nil {
					t.Fatalf("%s: %v", text, err)
				}
			}
			_, err := c.PgConn().Exec(t.Context(), tt.steps[last]).ReadAll()
			denied(t, err)
			if n := query(t, gt.database, "select count(*) from t"); n != "2" {
				t.Errorf("%s rows are left", n)
			}
		})
	}
}

// TestFailedPrepareKeepsTheOld prepares a harmless statement under the name of another that is there: the
// server refuses it, and the name goes on to mean what it did.
func TestFailedPrepareKeepsTheOld(t *testing.T) {
	g := &guard{admit: func(_ context.Context, s Statement, _ func(Held)) error {
		if s.Action == "sql:delete" {
			return &Refusal{Message: "no", Hint: "policy no-delete"}
		}
		return nil
	}}
	gt := start(t, "create table t (a int); insert into t values (1)", g)
	c := gt.connect("").PgConn()
	run := func(text string) error { _, err := c.Exec(t.Context(), text).ReadAll(); return err }
	if err := run("prepare p as delete from t"); err != nil {
		t.Fatal(err)
	}
	var pg *pgconn.PgError
	if err := run("prepare p as select 1"); !errors.As(err, &pg) || pg.Code != "42P05" {
		t.Fatalf("a second of that name: %v", err)
	}
	denied(t, run("execute p"))

	// The same in the protocol's own words, where the names are shared.
	if _, err := c.Prepare(t.Context(), "p", "select 1", nil); err == nil {
		t.Fatal("prepared twice")
	}
	denied(t, run("execute p"))
	r := c.ExecPrepared(t.Context(), "p", nil, nil, nil).Read()
	denied(t, r.Err)
	if n := query(t, gt.database, "select count(*) from t"); n != "1" {
		t.Errorf("%s rows", n)
	}
}

// TestTypo gives the server's own error for what nobody can read, without asking anybody; in a transaction too.
func TestTypo(t *testing.T) {
	g := &guard{admit: func(_ context.Context, s Statement, _ func(Held)) error {
		if s.Facts["opaque"].(bool) {
			return &Refusal{Message: "no", Hint: "policy opaque"}
		}
		return nil
	}}
	gt := start(t, "", g)
	c := gt.connect("").PgConn()
	run := func(text string) error { _, err := c.Exec(t.Context(), text).ReadAll(); return err }
	var pg *pgconn.PgError
	for _, text := range []string{"selec 1", "select 1; selec 2", "select 'open"} {
		if err := run(text); !errors.As(err, &pg) || pg.Code != "42601" {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := run("begin"); err != nil {
		t.Fatal(err)
	}
	if err := run("selec 1"); !errors.As(err, &pg) || pg.Code != "42601" || c.TxStatus() != 'E' {
		t.Errorf("in a transaction: %v, %c", err, c.TxStatus())
	}
	if err := run("rollback"); err != nil || c.TxStatus() != 'I' {
		t.Error(err)
	}
	if texts := g.texts(); len(texts) != 2 {
		t.Errorf("asked about %q", texts)
	}
	// What the server knows and the grammar does not is decided on, and refused.
	if err := run("select 1" + strings.Repeat("+1", 30000)); !errors.As(err, &pg) || pg.Code != "42501" {
		t.Errorf("too long to read: %v", err)
	}
	if err := run("select 1"); err != nil {
		t.Error(err)
	}
}

// TestBoundValues are decided on, every time.
func TestBoundValues(t *testing.T) {
	g := &guard{admit: refuse("'secret'")}
	gt := start(t, "create table t (a text)", g)
	c := gt.connect("")
	for _, tt := range []struct {
		value string
		ok    bool
	}{{"fine", true}, {"secret", false}, {"fine again", true}} {
		_, err := c.Exec(t.Context(), "insert into t values ($1)", tt.value)
		if tt.ok && err != nil {
			t.Error(err)
		}
		if !tt.ok {
			denied(t, err)
		}
	}
	if got := query(t, gt.database, "select string_agg(a, ',') from t"); got != "fine,fine again" {
		t.Errorf("got %q", got)
	}
	var with []string
	for _, text := range g.texts() {
		if strings.Contains(text, "$1 = ") {
			with = append(with, text)
		}
	}
	if len(with) != 3 || !strings.HasSuffix(with[0], "-- $1 = 'fine'") {
		t.Errorf("asked about %q", with)
	}
}

// TestRefusedWays is what is not let through at all.
func TestRefusedWays(t *testing.T) {
	gt := start(t, "create table t (a int)", &guard{})
	for _, tt := range []struct{ name, more, code string }{
		{"replication", "replication=database", "42501"},
		{"role at startup", "options='-c role=boss'", "42501"},
		{"switch at startup", "options='-e'", "42501"},
		{"other database", "dbname=postgres", "3D000"},
	} {
		var pg *pgconn.PgError
		if _, err := pgx.Connect(t.Context(), gt.url(tt.more)); !errors.As(err, &pg) || pg.Code != tt.code {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	c := gt.connect("options='-c search_path=pg_catalog -c extra_float_digits=2' timezone=Asia/Tokyo")
	var path, digits, zone string
	if err := c.QueryRow(t.Context(), "select current_setting('search_path'), current_setting('extra_float_digits'), current_setting('timezone')").Scan(&path, &digits, &zone); err != nil || path != "pg_catalog" || digits != "2" || zone != "Asia/Tokyo" {
		t.Errorf("settings did not arrive: %q %q %q, %v", path, digits, zone, err)
	}
	// Fastpath.
	f := c.PgConn().Conn()
	if _, err := f.Write([]byte{'F', 0, 0, 0, 14, 0, 0, 5, 30, 0, 0, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 5)
	if _, err := f.Read(head); err != nil || head[0] != 'E' {
		t.Errorf("fastpath: %q, %v", head, err)
	}
}
