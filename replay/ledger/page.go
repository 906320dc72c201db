package ledger

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// where collects the conditions of a filter.
type where struct {
	kind  dialect
	conds []string
	args  []any
}

// arg adds an argument and gives its placeholder, which both databases write the same way.
func (w *where) arg(v any) string {
	w.args = append(w.args, v)
	return "$" + strconv.Itoa(len(w.args))
}

// and adds a condition; each ? in it becomes the placeholder of the next of args.
func (w *where) and(cond string, args ...any) {
	var b strings.Builder
	for _, v := range args {
		before, after, _ := strings.Cut(cond, "?")
		b.WriteString(before)
		b.WriteString(w.arg(v))
		cond = after
	}
	w.conds = append(w.conds, b.String()+cond)
}

// equal adds column = v unless v is empty.
func (w *where) equal(column, v string) {
	if v != "" {
		w.and(column+" = ?", v)
	}
}

// between bounds a time column: since is included, until is not. Zero times bound nothing.
func (w *where) between(column string, since, until time.Time) {
	if !since.IsZero() {
		w.and(column+" >= ?", micros(since))
	}
	if !until.IsZero() {
		w.and(column+" < ?", micros(until))
	}
}

// contains adds that one of columns holds text, whatever the case of its (ASCII) letters.
func (w *where) contains(text string, columns ...string) error {
	if text == "" {
		return nil
	}
	if len(text) > MaxQuery || clean(text) != text {
		return fmt.Errorf("search for %q: %w", shorten(clean(text), 64), ErrInvalid)
	}
	like := "LIKE"
	if w.kind == inPostgres {
		like = "ILIKE"
	}
	p := w.arg("%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text) + "%")
	for i, c := range columns {
		columns[i] = c + " " + like + " " + p + ` ESCAPE '\'`
	}
	w.conds = append(w.conds, "("+strings.Join(columns, " OR ")+")")
	return nil
}

func (w *where) String() string {
	if len(w.conds) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conds, " AND ")
}

// limit is n within bounds.
func limit(n int) int {
	if n <= 0 {
		return DefaultLimit
	}
	return min(n, MaxLimit)
}

// A cursor names the last row of a page: its time, and its identifier among those of the same time. To
// callers it is opaque.
type cursor struct {
	at int64
	id string
}

func (c cursor) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(c.at, 36) + "." + c.id))
}

func parseCursor(s string) (cursor, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	at, id, ok := strings.Cut(string(b), ".")
	n, numErr := strconv.ParseInt(at, 36, 64)
	if err != nil || !ok || numErr != nil || len(s) > 2*MaxKey || clean(id) != id {
		return cursor{}, fmt.Errorf("cursor %q: %w", shorten(clean(s), 64), ErrInvalid)
	}
	return cursor{n, id}, nil
}

// before continues a listing, newest first, after the row that cursor c names.
func (w *where) before(c, timeColumn, idColumn string) error {
	if c == "" {
		return nil
	}
	last, err := parseCursor(c)
	if err != nil {
		return err
	}
	w.and("("+timeColumn+", "+idColumn+") < (?, ?)", last.at, last.id)
	return nil
}

// beforeTime is before, for rows that are told apart by their number n.
func (w *where) beforeTime(c, timeColumn string) error {
	if c == "" {
		return nil
	}
	at, n, err := parseNumberCursor(c)
	if err != nil {
		return err
	}
	w.and("("+timeColumn+", n) < (?, ?)", at, n)
	return nil
}

// beforeNumber is before, for listings in the order of the number n alone.
func (w *where) beforeNumber(c string) error {
	if c == "" {
		return nil
	}
	_, n, err := parseNumberCursor(c)
	if err != nil {
		return err
	}
	w.and("n < ?", n)
	return nil
}

func numberCursor(n int64) string { return timeCursor(0, n) }

// timeCursor names a row of a listing in the order of time, storedCursor one in the order of storing.
func timeCursor(at, n int64) string  { return cursor{at, strconv.FormatInt(n, 10)}.String() }
func storedCursor(_, n int64) string { return timeCursor(0, n) }

func parseNumberCursor(c string) (at, n int64, err error) {
	last, err := parseCursor(c)
	if err != nil {
		return 0, 0, err
	}
	if n, err = strconv.ParseInt(last.id, 10, 64); err != nil {
		return 0, 0, fmt.Errorf("cursor %q: %w", shorten(clean(c), 64), ErrInvalid)
	}
	return last.at, n, nil
}
