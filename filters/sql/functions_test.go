package sql_test

import (
	"runtime"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport-ssh/sallyport/filters/sql"
	"github.com/sallyport-ssh/sallyport/integration/real"
)

// TestBuiltinAgainstServer has a real catalog say which functions are harmless by its own account: what this
// package takes for builtin is never volatile there.
func TestBuiltinAgainstServer(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	db, err := real.StartPostgres()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Stop()
	c, err := pgx.Connect(t.Context(), db.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	rows, err := c.Query(t.Context(), `select proname, bool_or(provolatile = 'v') from pg_proc
		where pronamespace = 'pg_catalog'::regnamespace group by 1`)
	if err != nil {
		t.Fatal(err)
	}
	known, volatile := 0, 0
	var name string
	var changes bool
	if _, err := pgx.ForEachRow(rows, []any{&name, &changes}, func() error {
		s := one(t, `select pg_catalog."`+name+`"()`)
		switch {
		case !changes && len(s.Unknown) > 0:
			t.Errorf("%s changes nothing and is unknown", name)
		case !changes:
			known++
		case len(s.Unknown) == 0 && !s.Opaque && len(s.Classes) == 1 && !sql.IsBuiltin(name):
			t.Errorf("%s is volatile, and nobody has looked at it", name)
		default:
			volatile++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if known < 2000 || volatile < 100 {
		t.Errorf("%d stable and %d volatile functions: is this PostgreSQL?", known, volatile)
	}
}
