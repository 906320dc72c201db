package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// hides is a database in which reading changes something: by a function, and by a view, which nothing in a
// statement tells.
const hides = `create table noted (n serial primary key, what text);
	create function note(what text) returns text language plpgsql volatile as
		$$ begin insert into noted (what) values (note.what); return note.what; end $$;
	create function unlock() returns text language plpgsql volatile as
		$$ begin perform set_config('default_transaction_read_only', 'off', false); return 'unlocked'; end $$;
	create view innocent as select note('by the view') as x;
	create view unlocking as select unlock() as x;
	create table things (id int primary key, name text); insert into things values (1, 'a'), (2, 'b');
	alter table things owner to app;`

// code is the SQLSTATE of err.
func code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// TestReadOnly has the server itself refuse what hides a write, wherever it stands, and let through what says
// that it writes.
func TestReadOnly(t *testing.T) {
	const refused = "25006" // read_only_sql_transaction
	gt := start(t, hides, &guard{})
	for _, tt := range []struct {
		name  string
		steps []string // "?": must be refused by the server
	}{
		{"a view", []string{"?select * from innocent"}},
		{"a function", []string{"?select note('x')"}},
		{"reads and writes in turn", []string{"select 1", "insert into things values (10, 'x')", "?select note('x')", "update things set name = 'y' where id = 10", "?select note('x')", "delete from things where id = 10"}},
		{"a block", []string{"begin", "select 1", "?select note('x')", "rollback"}},
		{"a block that writes later", []string{"begin", "select * from things", "insert into things values (11, 'x')", "select note('raised')", "commit", "?select note('x')", "delete from things where id = 11"}},
		{"a block with savepoints", []string{"begin", "savepoint a", "select 1", "?select note('x')", "rollback to a", "?select note('x')", "rollback to a", "insert into things values (12, 'x')", "rollback to a", "release a", "commit"}},
		{"said by BEGIN", []string{"begin read write", "select note('admitted')", "commit", "?select note('x')"}},
		{"said by START", []string{"start transaction read write", "select note('admitted')", "rollback"}},
		{"said by SET TRANSACTION", []string{"begin", "set transaction read write", "select note('admitted')", "commit"}},
		{"a read-only block", []string{"begin read only", "select 1", "?insert into things values (13, 'x')", "rollback"}},
		{"a function that unlocks", []string{"select unlock()", "?select note('x')", "select * from unlocking", "?select note('x')"}},
		{"unlocks in a block", []string{"begin", "select unlock()", "?select note('x')", "rollback", "?select note('x')"}},
		{"unlocked by SET", []string{"set default_transaction_read_only = off", "?select note('x')"}},
		{"unlocked by set_config", []string{"select set_config('default_transaction_read_only', 'off', false)", "?select note('x')"}},
		{"unlocked by characteristics", []string{"set session characteristics as transaction read write", "?select note('x')"}},
		{"unlocked by RESET", []string{"reset default_transaction_read_only", "?select note('x')", "reset all", "?select note('x')", "discard all", "?select note('x')"}},
		{"in one message", []string{"?select 1; select note('x')", "?begin; select note('x')", "rollback", "begin; select 1; commit", "?select * from innocent; commit"}},
		{"after an end in one message", []string{"begin", "select 1; commit", "begin", "!commit; select note('x')", "rollback", "!select unlock(); commit; select note('x')"}},
		{"read-only from now on", []string{"begin", "set transaction isolation level repeatable read, read only", "select pg_export_snapshot()", "?select note('x')", "rollback"}},
		{"read-only in a savepoint", []string{"begin", "savepoint a", "set transaction read only", "?select note('x')", "rollback to a", "?select note('x')", "rollback"}},
		{"cursors", []string{"begin", "declare c cursor for select note('x')", "?fetch c", "rollback"}},
		{"cursors that are kept", []string{"begin", "declare c cursor with hold for select note('x')", "?commit", "?declare c cursor with hold for select note('x')"}},
		{"cursors that are kept, in a savepoint", []string{"begin", "savepoint a", "declare c cursor with hold for select note('x')", "!commit", "rollback"}},
		{"prepared", []string{"prepare p as select note('x')", "?execute p", "prepare w as insert into things values (14, 'x')", "execute w", "?execute p", "deallocate all", "delete from things where id = 14"}},
		{"EXPLAIN", []string{"explain select note('x')", "?explain analyze select note('x')", "explain insert into things values (15, 'x')", "explain analyze insert into things values (15, 'x')", "delete from things where id = 15"}},
		{"locks", []string{"select * from things for update", "begin", "select * from things for share", "commit", "?select note('x')"}},
		{"maintenance", []string{"vacuum things", "?select note('x')", "create index concurrently i on things (name)", "drop index i", "reindex table things"}},
		{"a chain", []string{"begin", "select 1", "commit and chain", "?select note('x')", "rollback"}},
		{"procedures", []string{"create procedure p() language plpgsql as $$ begin insert into things values (16, 'x'); commit; end $$", "call p()", "?select note('x')", "delete from things where id = 16", "drop procedure p"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, mode := range []string{"simple", "extended"} {
				before := query(t, gt.database, "select count(*) from noted where what = 'x' or what = 'by the view'")
				c := gt.connect("").PgConn()
				for _, step := range tt.steps {
					if mode == "extended" && strings.Contains(step, ";") && !strings.Contains(step, "$$") {
						continue // one statement at a time there
					}
					text, want := strings.TrimPrefix(step, "?"), ""
					if text != step {
						want = refused
					}
					if text = strings.TrimPrefix(text, "!"); text[0] != step[0] && step[0] == '!' {
						want = "0A000"
					}
					var err error
					if mode == "simple" {
						err = c.Exec(t.Context(), text).Close()
					} else {
						_, err = c.ExecParams(t.Context(), text, nil, nil, nil, nil).Close()
					}
					if code(err) != want {
						t.Errorf("%s: %s: %v, want %q", mode, text, err, want)
					}
				}
				c.Close(t.Context())
				if after := query(t, gt.database, "select count(*) from noted where what = 'x' or what = 'by the view'"); after != before {
					t.Errorf("%s: something was written: %s rows, were %s", mode, after, before)
				}
			}
		})
	}
}

// TestReadOnlyPipelines does it in pipelines: with a Sync for each statement and with one for all, in blocks and
// outside.
func TestReadOnlyPipelines(t *testing.T) {
	gt := start(t, hides, &guard{})
	for _, tt := range []struct {
		name  string
		parts [][]string // pipelines, sent at once
		want  []string   // SQLSTATE of each
	}{
		{"reads", [][]string{{"select 1", "select 2"}, {"select note('x')"}, {"select 3"}}, []string{"", "25006", ""}},
		{"writes and reads", [][]string{{"insert into things values (20, 'x')"}, {"select note('x')"}, {"delete from things where id = 20"}, {"select note('x')"}}, []string{"", "25006", "", "25006"}},
		{"unlocked on the way", [][]string{{"select unlock()"}, {"select note('x')"}, {"select * from unlocking"}, {"select * from innocent"}}, []string{"", "25006", "", "25006"}},
		{"one transaction", [][]string{{"select 1", "insert into things values (21, 'x')", "delete from things where id = 21"}}, []string{""}},
		{"a block begun with its first query", [][]string{{"begin", "select 1"}, {"select 2"}, {"insert into things values (22, 'x')", "delete from things where id = 22"}, {"commit"}}, []string{"", "", "", ""}},
		{"a block in one", [][]string{{"begin", "select note('x')", "commit"}, {"rollback"}, {"select note('x')"}}, []string{"25006", "", "25006"}},
		{"a block, then more", [][]string{{"begin", "insert into things values (23, 'x')", "delete from things where id = 23", "commit", "select note('raised')"}, {"select note('x')"}}, []string{"", "25006"}},
		{"ended, then read", [][]string{{"begin"}, {"select 1"}, {"commit", "select note('x')"}, {"select note('x')"}}, []string{"", "", "25006", "25006"}},
		{"savepoints on the way", [][]string{{"begin"}, {"savepoint a", "select 1", "rollback to a", "release a"}, {"select 1", "savepoint b", "select note('x')"}, {"rollback to b"}, {"select 2", "commit"}}, []string{"", "", "25006", "", ""}},
		{"failed", [][]string{{"begin"}, {"select 1 / 0"}, {"select 1"}, {"rollback"}, {"select 1"}}, []string{"", "22012", "25P02", "", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := gt.connect("").PgConn()
			p := c.StartPipeline(t.Context())
			for _, part := range tt.parts {
				for _, text := range part {
					p.SendQueryParams(text, nil, nil, nil, nil)
				}
				p.SendPipelineSync()
			}
			if err := p.Flush(); err != nil {
				t.Fatal(err)
			}
			var got []string
			for range tt.parts {
				got = append(got, endOfPart(t, p))
			}
			if err := p.Close(); err != nil && code(err) == "" {
				t.Error(err, gt.failures())
			}
			for i := range got {
				if got[i] != tt.want[i] {
					t.Errorf("part %d: %q, want %q", i, got[i], tt.want[i])
				}
			}
			if n := query(t, gt.database, "select count(*) from noted where what <> 'raised'"); n != "0" {
				t.Errorf("something was written: %s rows", n)
			}
		})
	}
}

// endOfPart reads until the next Sync's answer, and returns the code of the error before it.
func endOfPart(t *testing.T, p *pgconn.Pipeline) string {
	t.Helper()
	first := ""
	for {
		results, err := p.GetResults()
		if err != nil && first == "" {
			first = code(err)
		}
		switch r := results.(type) {
		case *pgconn.PipelineSync:
			return first
		case *pgconn.ResultReader:
			if _, err := r.Close(); err != nil && first == "" {
				first = code(err)
			}
		case nil:
			if err == nil {
				t.Fatal("the pipeline ended before its time")
			}
		}
	}
}

// TestReadOnlyIsNotSeen compares what a client sees of the mode of transactions with and without the gate.
func TestReadOnlyIsNotSeen(t *testing.T) {
	gt := start(t, hides, &guard{})
	direct, err := pgx.Connect(t.Context(), server.URL(gt.database))
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close(context.Background())
	through := gt.connect("")
	for _, text := range []string{
		"show transaction_read_only", "show default_transaction_read_only", "begin", "show transaction_read_only", "select 1", "show transaction_read_only", "commit",
		"begin read only", "show transaction_read_only", "commit", "show transaction_read_only", "set default_transaction_read_only = on", "show default_transaction_read_only",
		"update things set name = name", "begin", "show transaction_read_only", "select 1", "rollback", "reset default_transaction_read_only", "show default_transaction_read_only",
		"update things set name = name", "set session characteristics as transaction read only", "show transaction_read_only", "discard all",
		"show transaction_read_only", "select name, statement from pg_prepared_statements", "select name from pg_cursors",
	} {
		want, wantErr := one(t, direct, text)
		got, gotErr := one(t, through, text)
		if got != want || code(gotErr) != code(wantErr) {
			t.Errorf("%s: %q, %v; direct %q, %v", text, got, gotErr, want, wantErr)
		}
		const name = "default_transaction_read_only"
		if a, b := through.PgConn().ParameterStatus(name), direct.PgConn().ParameterStatus(name); a != b {
			t.Errorf("%s: reported %q, direct %q", text, a, b)
		}
		if a, b := through.PgConn().TxStatus(), direct.PgConn().TxStatus(); a != b {
			t.Errorf("%s: state %c, direct %c", text, a, b)
		}
	}
}

// one runs a statement and returns its first value.
func one(t *testing.T, c *pgx.Conn, text string) (string, error) {
	t.Helper()
	results, err := c.PgConn().Exec(t.Context(), text).ReadAll()
	if err != nil || len(results) == 0 || len(results[0].Rows) == 0 {
		return "", err
	}
	return string(results[0].Rows[0][0]), nil
}
