package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// An Operation is the smallest thing that was decided on.
type Operation struct {
	ID        string
	SessionID string
	Sequence  int64         // 1, 2, 3, ... in the session
	Offset    time.Duration // into the session; kept to the millisecond
	Time      time.Time
	Action    string         // "command:run"
	Text      string         // as shown: rendered by the caller
	Facts     map[string]any // bool, int64, string, []string
	Decision  string         // allow, deny, hold
	Policy    string         // the policy that decided
	HoldID    string         // "": not held
	Outcome   string         // what became of it; "": not known yet
	Times     int64          // how many operations of the session the row stands for; 0 is one. Only their number is kept

	// Filled by SearchOperations, of the session.
	Identity string // key
	Target   string
}

// AddOperation stores an operation and counts it in its session. ErrNotFound if there is no such
// session, ErrExists if the identifier or the sequence number is taken.
func (l *Ledger) AddOperation(ctx context.Context, o Operation) error {
	return wrap("add operation", l.addOperation(ctx, o))
}

const (
	operationColumns = `id, session_id, sequence, offset_ms, at, action, text, facts, decision, policy, hold_id, outcome`

	countOperations = `UPDATE sessions SET operations = operations + $2, denied = denied + $3, held = held + $4 WHERE id = $1`

	insertOperation = `INSERT INTO operations (` + operationColumns + `, identity_key, behalf_key, target)
	SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, identity_key, behalf_key, target FROM sessions WHERE id = $2`

	// One round trip; the row lock on the session is held for this statement only.
	insertOperationPostgres = `WITH s AS (UPDATE sessions SET operations = operations + $15, denied = denied + $13, held = held + $14
	WHERE id = $2 RETURNING identity_key, behalf_key, target)
	INSERT INTO operations (` + operationColumns + `, identity_key, behalf_key, target)
	SELECT $1::text, $2, $3::bigint, $4::bigint, $5::bigint, $6::text, $7::text, $8::text, $9::text, $10::text, $11::text,
	$12::text, identity_key, behalf_key, target FROM s`
)

// A preparedOperation is checked, and ready for the database.
type preparedOperation struct {
	session             string
	args                []any
	denied, held, times int64
}

func prepare(o Operation) (preparedOperation, error) {
	var c check
	if o.Time.IsZero() {
		return preparedOperation{}, fmt.Errorf("no time: %w", ErrInvalid)
	}
	args := []any{
		c.need("operation id", o.ID), c.need("session id", o.SessionID), o.Sequence, o.Offset.Milliseconds(), micros(o.Time),
		c.need("action", o.Action), c.text("text", o.Text, MaxText), c.object("facts", o.Facts),
		oneOf(&c, "decision", o.Decision, "allow", "deny", "hold"), c.text("policy", o.Policy, MaxNote),
		c.key("hold id", o.HoldID), c.text("outcome", o.Outcome, MaxNote),
	}
	return preparedOperation{o.SessionID, args, one(o.Decision == "deny"), one(o.Decision == "hold"), max(o.Times, 1)}, c.err
}

func (l *Ledger) addOperation(ctx context.Context, o Operation) error {
	p, err := prepare(o)
	if err != nil {
		return err
	}
	if l.kind == inPostgres {
		return found(l.exec(ctx, insertOperationPostgres, append(p.args, p.denied, p.held, p.times)...))
	}
	return l.operations.add(ctx, p)
}

func (t tx) addOperation(ctx context.Context, p preparedOperation) error {
	if t.l.kind == inPostgres {
		return found(t.exec(ctx, insertOperationPostgres, append(p.args, p.denied, p.held, p.times)...))
	}
	if err := found(t.exec(ctx, insertOperation, p.args...)); err != nil {
		return err
	}
	_, err := t.exec(ctx, countOperations, p.session, p.times, p.denied, p.held)
	return err
}

// AddOperations stores all of the operations, or none of them. It costs much less than adding each, for a
// caller whose record has them already: statements of a busy database session, say.
func (l *Ledger) AddOperations(ctx context.Context, all []Operation) error {
	return wrap("add operations", l.addOperations(ctx, all))
}

func (l *Ledger) addOperations(ctx context.Context, all []Operation) error {
	prepared := make([]preparedOperation, len(all))
	for i, o := range all {
		var err error
		if prepared[i], err = prepare(o); err != nil {
			return err
		}
	}
	if len(all) == 0 {
		return nil
	}
	if l.kind == inPostgres {
		return l.sendOperations(ctx, prepared)
	}
	return l.atomically(ctx, func(t tx) error {
		counts := map[string][3]int64{} // by session, so that each is counted once
		for _, p := range prepared {
			if err := found(t.exec(ctx, insertOperation, p.args...)); err != nil {
				return err
			}
			c := counts[p.session]
			counts[p.session] = [3]int64{c[0] + p.times, c[1] + p.denied, c[2] + p.held}
		}
		for session, c := range counts {
			if _, err := t.exec(ctx, countOperations, session, c[0], c[1], c[2]); err != nil {
				return err
			}
		}
		return nil
	})
}

// sendOperations sends all statements at once, instead of waiting for the answer to each.
func (l *Ledger) sendOperations(ctx context.Context, all []preparedOperation) error {
	c, err := l.w.Conn(ctx)
	if err != nil {
		return named(err)
	}
	defer c.Close()
	return c.Raw(func(driver any) error {
		return pgx.BeginFunc(ctx, driver.(*stdlib.Conn).Conn(), func(t pgx.Tx) error {
			var b pgx.Batch
			for _, p := range all {
				b.Queue(insertOperationPostgres, append(p.args, p.denied, p.held, p.times)...)
			}
			results := t.SendBatch(ctx, &b)
			for range all {
				tag, err := results.Exec()
				if err = found(tag.RowsAffected(), named(err)); err != nil {
					results.Close() // the first error says more
					return err
				}
			}
			return named(results.Close())
		})
	})
}

func one(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// found turns a statement that changed nothing into ErrNotFound.
func found(n int64, err error) error {
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// SetOutcome stores what became of an operation: that it ran, who refused it, why it never ran.
func (l *Ledger) SetOutcome(ctx context.Context, id, outcome string) error {
	var c check
	outcome = c.text("outcome", outcome, MaxNote)
	if c.err != nil {
		return wrap("set outcome", c.err)
	}
	return wrap("set outcome", found(l.exec(ctx, "UPDATE operations SET outcome = $2 WHERE id = $1", id, outcome)))
}

// Operations returns the operations of a session in full, in order, from the one after sequence number
// after. A page ends at limit rows (0: DefaultLimit, at most MaxLimit) or MaxBatch bytes; next is what
// to pass as after for the page that follows, 0 when there is none.
func (l *Ledger) Operations(ctx context.Context, sessionID string, after int64, rowLimit int) (page []Operation, next int64, err error) {
	n := limit(rowLimit)
	q := "SELECT " + operationColumns + ", identity_key, target, n FROM operations" +
		" WHERE session_id = $1 AND sequence > $2 ORDER BY sequence LIMIT " + strconv.Itoa(n+1)
	rows, err := l.query(ctx, q, sessionID, after)
	if err != nil {
		return nil, 0, wrap("operations", err)
	}
	defer rows.Close()
	size := 0
	for rows.Next() {
		o, _, err := scanOperation(rows)
		if err != nil {
			return nil, 0, wrap("operations", err)
		}
		size += len(o.Text)
		if len(page) == n || len(page) > 0 && size > MaxBatch {
			return page, page[len(page)-1].Sequence, nil
		}
		page = append(page, o)
	}
	return page, 0, wrap("operations", named(rows.Err()))
}

// OperationFilter chooses operations. The zero value chooses all.
type OperationFilter struct {
	Text         string    // in the text
	SessionID    string    // exact
	Identity     string    // key of the identity, or of whom it acts for in the end
	Target       string    // name
	Action       string    // exact
	Decision     string    // exact
	Since, Until time.Time // in [Since, Until)
	Limit        int       // rows; 0: DefaultLimit, at most MaxLimit
	Cursor       string    // from the page before
}

// SearchOperations returns the operations that f chooses, newest first, with texts shortened to
// SearchText, and the cursor of the next page, "" when there is none. On SQLite a search for text may order
// them as they were stored, which differs where gates or sessions stored them late.
func (l *Ledger) SearchOperations(ctx context.Context, f OperationFilter) ([]Operation, string, error) {
	page, next, err := l.searchOperations(ctx, f)
	return page, next, wrap("search operations", err)
}

func (l *Ledger) searchOperations(ctx context.Context, f OperationFilter) ([]Operation, string, error) {
	w, err := l.operationWhere(f)
	if err != nil {
		return nil, "", err
	}
	n := limit(f.Limit)
	grams, err := l.useIndex(ctx, f, len(w.conds) > 1)
	if err != nil {
		return nil, "", err
	}
	if grams != "" {
		q, err := w.indexed(grams, f.Cursor, n+1)
		if err != nil {
			return nil, "", err
		}
		return l.scanOperations(ctx, n, storedCursor, q, w.args...)
	}
	if err := w.beforeTime(f.Cursor, "at"); err != nil {
		return nil, "", err
	}
	return l.scanOperations(ctx, n, timeCursor, "SELECT "+listOperation+" FROM operations"+w.String()+
		" ORDER BY at DESC, n DESC LIMIT "+strconv.Itoa(n+1), w.args...)
}

func (l *Ledger) operationWhere(f OperationFilter) (*where, error) {
	w := &where{kind: l.kind}
	if err := w.contains(f.Text, "text"); err != nil {
		return nil, err
	}
	w.equal("session_id", f.SessionID)
	if f.Identity != "" {
		w.and("(identity_key = ? OR behalf_key = ?)", f.Identity, f.Identity)
	}
	w.equal("target", f.Target)
	w.equal("action", f.Action)
	w.equal("decision", f.Decision)
	w.between("at", f.Since, f.Until)
	return w, nil
}

var listOperation = "id, session_id, sequence, offset_ms, at, action, substr(text, 1, " + strconv.Itoa(SearchText+1) +
	") AS text, facts, decision, policy, hold_id, outcome, identity_key, target, n"

// manyHits is how many rows with a text make looking through rows that fit the other filters the better way.
const manyHits = 5000

// useIndex returns the query of SQLite's index of texts, or "" where it is not the way: PostgreSQL finds its
// own. A page goes on the way that the first one went, which its cursor tells.
func (l *Ledger) useIndex(ctx context.Context, f OperationFilter, narrowed bool) (string, error) {
	grams := trigrams(f.Text)
	if l.kind != inSQLite || grams == "" {
		return "", nil
	}
	if f.Cursor != "" {
		at, _, err := parseNumberCursor(f.Cursor)
		if err != nil || at != 0 {
			return "", err
		}
		return grams, nil
	}
	if !narrowed {
		return grams, nil
	}
	var hits int
	err := l.row(ctx, "SELECT count(*) FROM (SELECT 1 FROM operations_text WHERE operations_text MATCH $1 LIMIT $2)",
		[]any{grams, manyHits}, &hits)
	if err != nil || hits == manyHits {
		return "", err
	}
	return grams, nil
}

// indexed asks the index of migration 00002 for rows that may hold the text, looks through what it does not
// hold, and checks each by w. The three parts have no row in common.
func (w *where) indexed(grams, cursor string, limit int) (string, error) {
	if err := w.beforeNumber(cursor); err != nil {
		return "", err
	}
	hits := "operations_text MATCH " + w.arg(grams)
	if cursor != "" { // told to the index as well, which else begins at the newest row
		hits += " AND operations_text.rowid < " + "$" + strconv.Itoa(len(w.args)-1)
	}
	const done = "(SELECT n FROM operations_indexed WHERE one = 1)"
	part := func(from, cond, order string) string {
		return fmt.Sprintf("SELECT * FROM (SELECT %s FROM %s%s AND %s ORDER BY %s DESC LIMIT %d)", listOperation, from, w, cond, order, limit)
	}
	// CROSS JOIN fixes the order of the join: the index first, newest row first, and no further than needed.
	return "SELECT * FROM (" + part("operations_text CROSS JOIN operations ON n = operations_text.rowid",
		hits+" AND length(operations.text) <= 16384", "operations_text.rowid") +
		" UNION ALL " + part("operations", "length(operations.text) > 16384 AND n <= "+done, "n") +
		" UNION ALL " + part("operations", "n > "+done, "n") + ") ORDER BY n DESC LIMIT " + strconv.Itoa(limit), nil
}

// maxTrigrams bounds the work of a search: rows that hold this many of its trigrams are few.
const maxTrigrams = 24

// trigrams is the query of the index for a text: each three characters in a row, all of which must be there.
// It is "" for a text that is too short.
func trigrams(text string) string {
	r := []rune(text)
	var all []string
	for i := 0; i+3 <= len(r) && len(all) < maxTrigrams; i++ {
		g := `"` + strings.ReplaceAll(string(r[i:i+3]), `"`, `""`) + `"`
		if !slices.Contains(all, g) {
			all = append(all, g)
		}
	}
	return strings.Join(all, " AND ")
}

// scanOperations reads a page of n operations with a query for one more, and makes the cursor of the next
// page from the last row.
func (l *Ledger) scanOperations(ctx context.Context, n int, next func(at, n int64) string, q string, args ...any) ([]Operation, string, error) {
	rows, err := l.query(ctx, q, args...)
	if err != nil {
		return nil, "", err
	}
	defer rows.Close()
	var page []Operation
	var last int64
	for rows.Next() {
		o, number, err := scanOperation(rows)
		if err != nil {
			return nil, "", err
		}
		if len(page) == n {
			return page, next(micros(page[n-1].Time), last), nil
		}
		o.Text = shorten(o.Text, SearchText)
		page, last = append(page, o), number
	}
	return page, "", named(rows.Err())
}

func scanOperation(rows *sql.Rows) (o Operation, number int64, err error) {
	var offset, at int64
	var facts string
	err = rows.Scan(&o.ID, &o.SessionID, &o.Sequence, &offset, &at, &o.Action, &o.Text, &facts, &o.Decision, &o.Policy,
		&o.HoldID, &o.Outcome, &o.Identity, &o.Target, &number)
	if err != nil {
		return Operation{}, 0, err
	}
	if o.Facts, err = parseObject(facts); err != nil {
		return Operation{}, 0, fmt.Errorf("facts of operation %s: %w", o.ID, err)
	}
	o.Offset = time.Duration(min(offset, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	o.Time = fromMicros(at)
	return o, number, nil
}
