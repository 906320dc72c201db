package ledger_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport-ssh/sallyport/integration/real"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// The suite runs on both databases: each test of it takes a function that gives the URL of a new, empty
// database.
func onBoth(t *testing.T, f func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { f(t, newSQLite(t)) })
	t.Run("postgres", func(t *testing.T) { f(t, newPostgres(t)) })
}

func open(t testing.TB, url string) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return l
}

func newSQLite(t testing.TB) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "ledger.db")
}

var (
	server    *real.Postgres // the one of this test binary
	serverErr error
	databases atomic.Int64
)

func TestMain(m *testing.M) {
	runtime.LockOSThread() // the server is killed when the thread that started it ends
	server, serverErr = real.StartPostgres()
	code := m.Run()
	if server != nil {
		server.Stop()
	}
	os.Exit(code)
}

// newPostgres gives the URL of a new database on the real server.
func newPostgres(t testing.TB) string {
	t.Helper()
	if serverErr != nil {
		if testing.Short() {
			t.Skip(serverErr)
		}
		t.Fatal(serverErr)
	}
	name := fmt.Sprintf("ledger%d", databases.Add(1))
	conn, err := pgx.Connect(t.Context(), server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return server.URL(name)
}

// tamper changes a database behind the ledger's back.
func tamper(t testing.TB, url string, statements ...string) {
	t.Helper()
	driver, dsn := "pgx", url
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		driver, dsn = "sqlite", "file:"+path+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}
