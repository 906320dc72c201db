package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Find chooses what [Ledger.Find] looks for. The zero value chooses all operations.
type Find struct {
	Text     string // in the text; needed where Shown is set
	Shown    bool   // look in what was on the screen, and not in operations
	Identity string // key, name or e-mail of who had the session
	Behalf   string // the same, of whom they acted for in the end
	Target   string // name
	Of       string // key of either of both

	SessionID    string
	Since, Until time.Time // in [Since, Until)
	Exit         string    // of the session: "0", "failed" (any other, or a signal), or a number

	// Of operations only.
	Decision string // allow, deny, hold
	Action   string // exact, or all that begin with it where it ends in ":"
	Class    string // a class that the filters found: destructive, ...

	Limit  int    // rows; 0: DefaultLimit, at most MaxLimit
	Cursor string // from the page before
}

// A Hit is one operation, or one line that was on a screen.
type Hit struct {
	Operation         // with Shown: SessionID, Time, Offset, and Text with the lines around
	Line      string  // with Shown: the line
	Session   Session // whose it is, as Sessions gives it
	number    int64   // of its row
}

// Found is a page of hits, the newest first. Pages are in the order of storing, which differs where gates stored late.
type Found struct {
	Hits []Hit
	Next string // of the next page; "": there is none
	// Back is how far the search has come. Where a page is not full and Next is set, the time for one page was
	// over before there were enough hits: the next page looks further back.
	Back time.Time
}

// Every query of a search looks at this many rows at most, and a page makes queries until its time is over.
const (
	findRows  = 3000                  // that an index of texts names
	scanRows  = 15_000                // one after the other
	fewRows   = 1500                  // that another index names: fewer are looked at one by one
	findTime  = 70 * time.Millisecond // after which no further query is begun
	queryTime = 80 * time.Millisecond // after which an index of texts is given up for this page
)

// Find searches operations, or what was on screens. However common or rare what it looks for is, a page takes a
// bounded time: see [Found].
func (l *Ledger) Find(ctx context.Context, f Find) (Found, error) {
	found, err := l.find(ctx, f)
	return found, wrap("find", err)
}

func (l *Ledger) find(ctx context.Context, f Find) (Found, error) {
	s, err := l.searchOf(ctx, f)
	if err != nil || s.nothing {
		return Found{}, err
	}
	var out Found
	want := limit(f.Limit) + 1
	for since := time.Now(); ; {
		rows, down, err := s.step(ctx, want-len(out.Hits))
		if err != nil {
			return Found{}, err
		}
		out.Hits = append(out.Hits, rows...)
		s.below = down
		if len(out.Hits) >= want || down <= s.least || time.Since(since) > findTime {
			break
		}
	}
	if err := l.complete(ctx, &out, s, want); err != nil {
		return Found{}, err
	}
	slices.SortStableFunc(out.Hits, func(a, b Hit) int { return b.Time.Compare(a.Time) }) // rows are stored nearly in this order
	return out, l.addSessions(ctx, out.Hits)
}

// complete says how to go on, and how far the search has come.
func (l *Ledger) complete(ctx context.Context, out *Found, s *search, want int) error {
	switch {
	case len(out.Hits) >= want:
		out.Hits = out.Hits[:want-1]
		last := out.Hits[want-2]
		out.Next, out.Back = numberCursor(last.number), last.Time
	case s.below > s.least:
		out.Next = numberCursor(s.below)
		var at int64
		err := l.row(ctx, "SELECT coalesce(max(at), 0) FROM "+s.table+" WHERE n = $1", []any{s.below}, &at)
		if err != nil {
			return err
		}
		out.Back = fromMicros(at)
	}
	return nil
}

// A search is a Find made ready.
type search struct {
	l       *Ledger
	table   string // operations, shown
	columns string
	scan    func(*sql.Rows) (Hit, error)
	w       *where // of the rows, which are o
	text    string
	grams   string // for the index of texts; "" where it is not the way
	narrow  string // a condition that few rows meet and an index finds, with its arguments
	args    []any
	below   int64 // rows numbered below this are to be looked at
	least   int64 // down to this one
	nothing bool  // nothing can be found
}

func (l *Ledger) searchOf(ctx context.Context, f Find) (*search, error) {
	s := &search{l: l, table: "operations", columns: listOperation, scan: scanFound, w: &where{kind: l.kind}, text: f.Text}
	if f.Shown {
		s.table, s.columns = "shown", "o.session_id, o.at, o.text, o.marks, o.n"
		s.scan = func(rows *sql.Rows) (Hit, error) { return scanShown(rows, f.Text) }
		s.nothing = f.Text == ""
	}
	if err := s.w.contains(f.Text, "o.text"); err != nil {
		return nil, err
	}
	if err := s.sessions(ctx, f); err != nil {
		return nil, err
	}
	s.w.between("o.at", f.Since, f.Until)
	if !f.Shown {
		s.operations(f)
	}
	if err := s.bounds(ctx, f); err != nil {
		return nil, err
	}
	s.grams = trigrams(f.Text)
	return s, s.narrowest(ctx, f)
}

// sessions adds what is said of the session of a row. Names become keys first.
func (s *search) sessions(ctx context.Context, f Find) error {
	s.w.equal("o.session_id", f.SessionID)
	keys, err := s.l.keysOf(ctx, f.Identity, false)
	if err != nil {
		return err
	}
	behalf, err := s.l.keysOf(ctx, f.Behalf, true)
	if err != nil {
		return err
	}
	s.nothing = s.nothing || f.Identity != "" && len(keys) == 0 || f.Behalf != "" && len(behalf) == 0
	of := func(column string) string { return "o." + column }
	var cond []string
	if s.table == "shown" {
		of = func(column string) string { return "s." + column }
	}
	add := func(c string) { cond = append(cond, c) }
	if len(keys) > 0 {
		add(of("identity_key") + " IN (" + s.list(keys) + ")")
	}
	if len(behalf) > 0 {
		add(of("behalf_key") + " IN (" + s.list(behalf) + ")")
	}
	if f.Of != "" {
		key := s.w.arg(f.Of)
		add("(" + of("identity_key") + " = " + key + " OR " + of("behalf_key") + " = " + key + ")")
	}
	if f.Target != "" {
		add(of("target") + " = " + s.w.arg(f.Target))
	}
	if s.table == "operations" {
		s.w.conds = append(s.w.conds, cond...)
		cond = nil
	}
	switch f.Exit {
	case "":
	case "failed":
		add("(s.exit_status <> 0 OR s.exit_signal <> '')")
	default:
		n, err := strconv.Atoi(f.Exit)
		if err != nil {
			return fmt.Errorf("exit status %q: %w", shorten(clean(f.Exit), 64), ErrInvalid)
		}
		add("s.exit_status = " + s.w.arg(int64(n)))
	}
	if len(cond) > 0 {
		s.w.conds = append(s.w.conds, "EXISTS (SELECT 1 FROM sessions s WHERE s.id = o.session_id AND "+strings.Join(cond, " AND ")+")")
	}
	return nil
}

func (s *search) list(keys []string) string {
	var out []string
	for _, k := range keys {
		out = append(out, s.w.arg(k))
	}
	return strings.Join(out, ", ")
}

// maxKeys bounds how many identities one name may stand for.
const maxKeys = 50

// keysOf gives the keys of who is known by a key, a name or an e-mail.
func (l *Ledger) keysOf(ctx context.Context, who string, behalf bool) ([]string, error) {
	if who == "" || strings.Contains(who, "#") {
		return slices.DeleteFunc([]string{who}, func(s string) bool { return s == "" }), nil
	}
	q := `SELECT DISTINCT identity_key FROM sessions WHERE name = $1 OR email = $1`
	if behalf {
		q = `SELECT DISTINCT behalf_key FROM sessions WHERE behalf_key <> '' AND (behalf_name = $1 OR behalf_email = $1)`
	}
	rows, err := l.query(ctx, q+" LIMIT "+strconv.Itoa(maxKeys), who)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var keys []string
	for rows.Next() {
		var k string
		if err := rows.Scan(&k); err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, named(rows.Err())
}

func (s *search) operations(f Find) {
	s.w.equal("o.decision", f.Decision)
	if family, ok := strings.CutSuffix(f.Action, ":"); ok {
		s.w.and("o.action >= ? AND o.action < ?", family+":", family+";")
	} else {
		s.w.equal("o.action", f.Action)
	}
	if f.Class == "" {
		return
	}
	if s.l.kind == inPostgres {
		s.w.and("(o.facts::jsonb -> 'classes') @> to_jsonb(?::text)", f.Class)
	} else {
		s.w.and("EXISTS (SELECT 1 FROM json_each(o.facts, '$.classes') WHERE value = ?)", f.Class)
	}
}

// lateRows is how many rows may have been stored out of the order of time for a search between times to find them.
const lateRows = 10_000

// bounds bounds the numbers of rows, by the cursor and by the times.
func (s *search) bounds(ctx context.Context, f Find) error {
	if f.Cursor != "" {
		_, n, err := parseNumberCursor(f.Cursor)
		if err != nil {
			return err
		}
		s.below = n
	} else if err := s.l.row(ctx, "SELECT coalesce(max(n), 0) + 1 FROM "+s.table, nil, &s.below); err != nil {
		return err
	}
	var n int64
	if !f.Until.IsZero() {
		err := s.l.row(ctx, "SELECT n FROM "+s.table+" WHERE at < $1 ORDER BY at DESC, n DESC LIMIT 1", []any{micros(f.Until)}, &n)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		s.below = min(s.below, n+lateRows)
	}
	if !f.Since.IsZero() {
		err := s.l.row(ctx, "SELECT n FROM "+s.table+" WHERE at >= $1 ORDER BY at, n LIMIT 1", []any{micros(f.Since)}, &n)
		if errors.Is(err, ErrNotFound) {
			n, err = s.below, nil
		}
		if err != nil {
			return err
		}
		s.least = max(n-lateRows, 0)
	}
	return nil
}

// narrowest finds a condition that so few rows meet that looking at each of them is the quickest way.
func (s *search) narrowest(ctx context.Context, f Find) error {
	type way struct {
		cond string
		arg  any
	}
	var ways []way
	if f.SessionID != "" {
		ways = append(ways, way{"o.session_id = $1", f.SessionID})
	}
	if s.table == "operations" {
		if f.Target != "" {
			ways = append(ways, way{"o.target = $1", f.Target})
		}
		if f.Decision == "deny" || f.Decision == "hold" {
			ways = append(ways, way{"o.decision = $1 AND o.decision <> 'allow'", f.Decision})
		}
		if strings.Contains(f.Identity, "#") {
			ways = append(ways, way{"o.identity_key = $1", f.Identity})
		}
		if strings.Contains(f.Behalf, "#") {
			ways = append(ways, way{"o.behalf_key = $1 AND o.behalf_key <> ''", f.Behalf})
		}
	}
	for _, w := range ways {
		var n int
		err := s.l.row(ctx, fmt.Sprintf("SELECT count(*) FROM (SELECT 1 FROM %s o WHERE %s LIMIT %d) few", s.table, w.cond, fewRows), []any{w.arg}, &n)
		if err != nil {
			return err
		}
		if n < fewRows {
			s.narrow, s.args, s.grams = w.cond, []any{w.arg}, ""
			return nil
		}
	}
	return nil
}

// step looks at some more rows, and says below which number the next step goes on.
func (s *search) step(ctx context.Context, want int) ([]Hit, int64, error) {
	switch {
	case s.narrow != "":
		// Materialized, so that no planner thinks it better to go through all rows in the order that is wanted.
		few := fmt.Sprintf("WITH few AS MATERIALIZED (SELECT * FROM %s o WHERE %s AND o.n < %d) ", s.table, s.shift(s.narrow), s.below)
		rows, err := s.read(s.l.query(ctx, few+s.query("few", fmt.Sprintf("o.n >= %d", s.least), want), append(slices.Clip(s.w.args), s.args...)...))
		return rows, down(rows, want, s.least), err
	case s.grams != "" && s.l.kind == inSQLite:
		return s.byIndex(ctx, want)
	case s.grams != "":
		rows, err := s.byPlanner(ctx, want)
		if !errors.Is(err, errTooSlow) {
			return rows, down(rows, want, s.least), err
		}
		s.grams = ""
	}
	return s.byScan(ctx, want)
}

// shift moves a condition's one placeholder behind those of the filter.
func (s *search) shift(cond string) string {
	return strings.ReplaceAll(cond, "$1", "$"+strconv.Itoa(len(s.w.args)+1))
}

// down is where to go on: below the last of a full page, else nowhere.
func down(rows []Hit, want int, least int64) int64 {
	if len(rows) < want {
		return least
	}
	return rows[len(rows)-1].number
}

// byScan looks at the next rows in order.
func (s *search) byScan(ctx context.Context, want int) ([]Hit, int64, error) {
	low := max(s.below-scanRows, s.least)
	rows, err := s.rows(ctx, fmt.Sprintf("o.n >= %d", low), want)
	if len(rows) >= want {
		low = rows[len(rows)-1].number
	}
	return rows, low, err
}

// rows reads rows that meet the filter and cond, the last stored first.
func (s *search) rows(ctx context.Context, cond string, want int) ([]Hit, error) {
	return s.read(s.l.query(ctx, s.query(s.table, cond, want), s.w.args...))
}

func (s *search) query(from, cond string, want int) string {
	conds := append(slices.Clip(s.w.conds), fmt.Sprintf("o.n < %d", s.below), cond)
	return "SELECT " + s.columns + " FROM " + from + " o WHERE " + strings.Join(conds, " AND ") + " ORDER BY o.n DESC LIMIT " + strconv.Itoa(want)
}

func (s *search) read(rows *sql.Rows, err error) ([]Hit, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Hit
	for rows.Next() {
		h, err := s.scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, named(rows.Err())
}

// byIndex asks SQLite's index of texts which rows may hold the text, and looks at those. Of operations, the index
// lacks the very newest, and the ends of very long texts: see migration 00002.
func (s *search) byIndex(ctx context.Context, want int) ([]Hit, int64, error) {
	may, low, err := s.candidates(ctx)
	if errors.Is(err, errTooSlow) {
		s.grams = ""
		return s.byScan(ctx, want)
	}
	if err != nil {
		return nil, 0, err
	}
	if s.table == "operations" {
		more, lower, err := s.unindexed(ctx, low)
		if err != nil {
			return nil, 0, err
		}
		may, low = append(may, more...), max(low, lower)
	}
	var in strings.Builder
	for _, n := range may {
		if n >= low {
			in.WriteString("," + strconv.FormatInt(n, 10))
		}
	}
	if in.Len() == 0 {
		return nil, low, nil
	}
	rows, err := s.rows(ctx, "o.n IN ("+in.String()[1:]+")", want)
	if len(rows) >= want {
		low = rows[len(rows)-1].number
	}
	return rows, low, err
}

var errTooSlow = errors.New("takes too long")

// candidates are the rows that the index of texts names, and down to which row these are all.
func (s *search) candidates(ctx context.Context) (may []int64, low int64, err error) {
	limited, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	q := fmt.Sprintf("SELECT rowid FROM %[1]s_text WHERE %[1]s_text MATCH $1 AND rowid < %[2]d AND rowid >= %[3]d ORDER BY rowid DESC LIMIT %[4]d",
		s.table, s.below, s.least, findRows)
	may, err = s.numbers(limited, q, s.grams)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return nil, 0, errTooSlow
	}
	if len(may) == findRows {
		return may, may[len(may)-1], err
	}
	return may, s.least, err
}

// unindexed are operations that the index says nothing of.
func (s *search) unindexed(ctx context.Context, low int64) ([]int64, int64, error) {
	long, err := s.numbers(ctx, fmt.Sprintf("SELECT n FROM operations WHERE length(text) > 16384 AND n < %d AND n >= %d ORDER BY n DESC LIMIT 200", s.below, low))
	if err != nil {
		return nil, 0, err
	}
	if len(long) == 200 {
		low = long[199]
	}
	fresh, err := s.numbers(ctx, fmt.Sprintf("SELECT n FROM operations WHERE n > (SELECT n FROM operations_indexed WHERE one = 1) AND n < %d", s.below))
	return append(long, fresh...), low, err
}

func (s *search) numbers(ctx context.Context, q string, args ...any) ([]int64, error) {
	rows, err := s.l.query(ctx, q, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []int64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, named(rows.Err())
}

// byPlanner leaves the way to PostgreSQL, for a while.
func (s *search) byPlanner(ctx context.Context, want int) (all []Hit, err error) {
	t, err := s.l.r.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, named(err)
	}
	defer t.Rollback() // it has changed nothing
	if _, err := t.ExecContext(ctx, fmt.Sprintf("SET LOCAL statement_timeout = %d", queryTime.Milliseconds())); err != nil {
		return nil, named(err)
	}
	rows, err := t.QueryContext(ctx, s.query(s.table, fmt.Sprintf("o.n >= %d", s.least), want), s.w.args...)
	all, err = s.read(rows, named(err))
	if canceledByServer(err) {
		return nil, errTooSlow
	}
	return all, err
}

// addSessions fills in whose the hits are.
func (l *Ledger) addSessions(ctx context.Context, hits []Hit) error {
	at := map[string][]int{}
	w := &where{kind: l.kind}
	var ids []string
	for i, h := range hits {
		if at[h.SessionID] == nil {
			ids = append(ids, w.arg(h.SessionID))
		}
		at[h.SessionID] = append(at[h.SessionID], i)
	}
	if len(ids) == 0 {
		return nil
	}
	q := selectSessions(fmt.Sprintf("substr(command, 1, %d)", ListText+1)) + " WHERE id IN (" + strings.Join(ids, ", ") + ")"
	all, err := l.scanSessions(ctx, q, w.args...)
	for _, s := range all {
		s.Command = shorten(s.Command, ListText)
		for _, i := range at[s.ID] {
			hits[i].Session = s
			hits[i].Identity, hits[i].Target = s.Identity.Key(), s.Target
			hits[i].Offset = max(hits[i].Offset, 0)
		}
	}
	return err
}

func scanFound(rows *sql.Rows) (Hit, error) {
	o, n, err := scanOperation(rows)
	o.Text = shorten(o.Text, SearchText)
	return Hit{Operation: o, number: n}, err
}

func scanShown(rows *sql.Rows, text string) (h Hit, err error) {
	var at int64
	var all, marks string
	if err := rows.Scan(&h.SessionID, &at, &all, &marks, &h.number); err != nil {
		return h, err
	}
	var ms []int64
	if err := json.Unmarshal([]byte(marks), &ms); err != nil {
		return h, fmt.Errorf("marks of row %d: %w", h.number, err)
	}
	lines := strings.Split(all, "\n")
	i := lineWith(lines, text)
	first := int64(0)
	if len(ms) > 0 {
		first, h.Offset = ms[0], time.Duration(ms[min(i, len(ms)-1)])*time.Millisecond
	}
	h.Time = fromMicros(at + (h.Offset.Milliseconds()-first)*1000)
	h.Line, h.Text = lines[i], strings.Join(lines[max(i-1, 0):min(i+2, len(lines))], "\n")
	return h, nil
}

// lineWith is the first line that holds text, the first of those it goes over, or the first.
func lineWith(lines []string, text string) int {
	text, _, _ = strings.Cut(strings.ToLower(text), "\n")
	for i, l := range lines {
		if strings.Contains(strings.ToLower(l), text) {
			return i
		}
	}
	return 0
}
