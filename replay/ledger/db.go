package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

type dialect int

const (
	inSQLite dialect = iota
	inPostgres
)

// busyTimeout is how long a writer waits for another process (a command line tool, a second gate that
// was started by mistake) to finish its transaction.
const busyTimeout = 5 * time.Second

func openSQLite(path string) (*Ledger, error) {
	if path == "" || strings.HasPrefix(path, "//") {
		return nil, errors.New(`want "sqlite:PATH" with the path of a file`)
	}
	if err := private(path); err != nil {
		return nil, err
	}
	dsn := sqliteDSN(path)
	w, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	w.SetMaxOpenConns(1)
	r, err := sql.Open("sqlite", dsn+"&_pragma=query_only(1)")
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	r.SetMaxOpenConns(8)
	r.SetMaxIdleConns(8)
	l := &Ledger{kind: inSQLite, w: w, r: r}
	l.operations.write = l.writeGroup
	l.changes = newHub(l.pollSQLite)
	return l, nil
}

// private makes the file, or what an earlier umask left of it, its owner's only. SQLite gives its -wal
// and -shm files the same mode.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", path)
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return f.Chmod(0o600)
	}
	return nil
}

func sqliteDSN(path string) string {
	q := url.Values{"_txlock": {"immediate"}}
	q["_pragma"] = []string{
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
		"journal_mode(WAL)",
		"synchronous(NORMAL)",
		"foreign_keys(1)",
		"cache_size(-16384)", // KiB a connection
		"journal_size_limit(67108864)",
	}
	// A path that starts with two slashes would be read as a host.
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

func openPostgres(u string) (*Ledger, error) {
	c, err := pgx.ParseConfig(u)
	if err != nil {
		return nil, err // pgconn hides the password
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "sallyport"
	}
	db := stdlib.OpenDB(*c)
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	db.SetConnMaxIdleTime(5 * time.Minute)
	l := &Ledger{kind: inPostgres, w: db, r: db}
	l.changes = newHub(func(ctx context.Context, ready func(error), tell func(topic, id string)) {
		l.listenPostgres(ctx, c, ready, tell)
	})
	return l, nil
}

// stmtCache keeps the statements that SQLite would otherwise compile at every call. Only constant
// queries go in, so it is bounded by the program text.
type stmtCache struct {
	mu sync.Mutex
	m  map[stmtKey]*sql.Stmt
}

type stmtKey struct {
	db    *sql.DB
	query string
}

func (c *stmtCache) get(ctx context.Context, db *sql.DB, query string) (*sql.Stmt, error) {
	c.mu.Lock()
	s := c.m[stmtKey{db, query}]
	c.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.m[stmtKey{db, query}]; old != nil {
		s.Close()
		return old, nil
	}
	if c.m == nil {
		c.m = make(map[stmtKey]*sql.Stmt)
	}
	c.m[stmtKey{db, query}] = s
	return s, nil
}

// cached returns a statement that get has made, or nil: a transaction holds the only connection, so
// none can be made on another meanwhile.
func (c *stmtCache) cached(db *sql.DB, query string) *sql.Stmt {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m[stmtKey{db, query}]
}

func (c *stmtCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.m {
		s.Close()
	}
	c.m = nil
}

// exec runs one constant statement as a transaction of its own, and says how many rows it changed.
func (l *Ledger) exec(ctx context.Context, query string, args ...any) (n int64, err error) {
	defer func(since time.Time) { l.observed(true, since, err) }(time.Now())
	var res sql.Result
	if l.kind == inPostgres {
		res, err = l.w.ExecContext(ctx, query, args...)
	} else {
		var s *sql.Stmt
		if s, err = l.prepared.get(ctx, l.w, query); err == nil {
			res, err = s.ExecContext(ctx, args...)
		}
	}
	if err != nil {
		return 0, named(err)
	}
	return res.RowsAffected()
}

// query reads; the query need not be constant.
func (l *Ledger) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	since := time.Now()
	rows, err := l.r.QueryContext(ctx, query, args...)
	l.observed(false, since, err)
	return rows, named(err)
}

// row reads one row by a constant query; no row is ErrNotFound.
func (l *Ledger) row(ctx context.Context, query string, args []any, dest ...any) (err error) {
	defer func(since time.Time) { l.observed(false, since, err) }(time.Now())
	if l.kind == inPostgres {
		return named(l.r.QueryRowContext(ctx, query, args...).Scan(dest...))
	}
	s, err := l.prepared.get(ctx, l.r, query)
	if err != nil {
		return named(err)
	}
	return named(s.QueryRowContext(ctx, args...).Scan(dest...))
}

// A tx is a transaction of the writer.
type tx struct {
	l *Ledger
	t *sql.Tx
}

func (t tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	var res sql.Result
	var err error
	if t.l.kind == inPostgres {
		res, err = t.t.ExecContext(ctx, query, args...)
	} else if s := t.l.prepared.cached(t.l.w, query); s != nil {
		res, err = t.t.StmtContext(ctx, s).ExecContext(ctx, args...)
	} else {
		res, err = t.t.ExecContext(ctx, query, args...)
	}
	if err != nil {
		return 0, named(err)
	}
	return res.RowsAffected()
}

func (t tx) row(ctx context.Context, query string, args []any, dest ...any) error {
	return named(t.t.QueryRowContext(ctx, query, args...).Scan(dest...))
}

// forUpdate ends a SELECT whose row this transaction is about to change. SQLite has the whole file
// locked already.
func (t tx) forUpdate(query string) string {
	if t.l.kind == inPostgres {
		return query + " FOR UPDATE"
	}
	return query
}

// atomically runs f in one transaction, which is rolled back when f fails.
func (l *Ledger) atomically(ctx context.Context, f func(tx) error) error {
	return begin(ctx, l, l.w, f)
}

// durably is atomically, and the result survives a power cut.
func (l *Ledger) durably(ctx context.Context, f func(tx) error) error {
	if l.kind == inPostgres {
		return begin(ctx, l, l.w, f)
	}
	c, err := l.w.Conn(ctx)
	if err != nil {
		return named(err)
	}
	defer c.Close()
	// There is one writer, so no other transaction can come between.
	if _, err := c.ExecContext(ctx, "PRAGMA synchronous = FULL"); err != nil {
		return named(err)
	}
	err = begin(ctx, l, c, f)
	_, back := c.ExecContext(context.WithoutCancel(ctx), "PRAGMA synchronous = NORMAL")
	if err != nil {
		return err
	}
	if back != nil {
		return nil // what was asked is stored; the connection is only slower than it need be
	}
	return nil
}

type beginner interface {
	BeginTx(ctx context.Context, o *sql.TxOptions) (*sql.Tx, error)
}

func begin(ctx context.Context, l *Ledger, b beginner, f func(tx) error) (err error) {
	defer func(since time.Time) { l.observed(true, since, err) }(time.Now())
	t, err := b.BeginTx(ctx, nil)
	if err != nil {
		return named(err)
	}
	if err := f(tx{l, t}); err != nil {
		t.Rollback() // the first error says more
		return err
	}
	return named(t.Commit())
}

// named gives the errors of both databases one name.
func named(err error) error {
	var pe *pgconn.PgError
	var se *sqlite.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case errors.As(err, &pe) && pe.Code == "23505": // unique_violation
		return ErrExists
	case errors.As(err, &pe):
		// The detail of a PostgreSQL error can quote values; its message and code do not.
		return fmt.Errorf("%s (SQLSTATE %s)", pe.Message, pe.Code)
	case errors.As(err, &se) && (se.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || se.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY):
		return ErrExists
	}
	return err
}

// canceledByServer tells that PostgreSQL gave a statement up because its time was over.
func canceledByServer(err error) bool {
	return err != nil && strings.Contains(err.Error(), "SQLSTATE 57014")
}
