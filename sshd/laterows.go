package sshd

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// lateRows are statements of one connection on their way to the ledger. The recording has each already. Those that
// differ in nothing but the values bound to them, and ended alike, share a row, which has the values of all.
type lateRows struct {
	writing sync.Mutex // held while rows are stored, so that they are stored in order; above mu

	mu    sync.Mutex // guards what follows
	rows  []*lateRow
	bytes int
	open  map[string]*lateRow // of rows, those that have not ended, by id
	timer *time.Timer         // runs while there are rows
}

// A lateRow is one statement; its facts are its form's.
type lateRow struct {
	ledger.Operation
	form  *sqlForm
	text  string // masked
	apart string // of the text, masked: what others of its form do not have
	folds bool   // that is known
	ended bool
}

// Rows for the ledger wait no longer than this, and no more of them than that.
const (
	ledgerWait  = 200 * time.Millisecond
	ledgerRows  = 2048
	ledgerBytes = 1 << 20
	// foldedText is how long the text of a row may grow by the values of others; a longer one stays alone.
	foldedText = 8 << 10
)

// add keeps a row. When there are too many the caller waits until they are stored.
func (l *lateRows) add(g *statements, r *lateRow) {
	l.mu.Lock()
	if l.open == nil {
		l.open = map[string]*lateRow{}
	}
	l.rows, l.bytes = append(l.rows, r), l.bytes+len(r.text)
	l.open[r.ID] = r
	if l.timer == nil {
		l.timer = time.AfterFunc(ledgerWait, func() { l.flush(g, false) })
	}
	full := len(l.rows) >= ledgerRows || l.bytes >= ledgerBytes
	l.mu.Unlock()
	if full {
		l.flush(g, true)
	}
}

// done notes how a statement ended: in its row, or in the ledger where that is stored already.
func (l *lateRows) done(g *statements, id, outcome string) error {
	l.mu.Lock()
	if r := l.open[id]; r != nil {
		r.Outcome, r.ended = outcome, true
		delete(l.open, id)
		l.mu.Unlock()
		return nil
	}
	l.mu.Unlock()
	l.writing.Lock() // it may be under way
	defer l.writing.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(g.ctx), ledgerTimeout)
	defer cancel()
	if err := g.c.srv.o.Ledger.SetOutcome(ctx, id, outcome); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

// flush stores the rows that wait; those that have just begun only if all is set. A ledger that cannot store them
// ends the session.
func (l *lateRows) flush(g *statements, all bool) {
	l.writing.Lock()
	defer l.writing.Unlock()
	rows := fold(l.take(g, all))
	if len(rows) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(g.ctx), ledgerTimeout)
	defer cancel()
	if err := g.c.srv.o.Ledger.AddOperations(ctx, rows); err != nil {
		g.cancel(fmt.Errorf("ledger: %w", err))
	}
}

// take removes the rows that are to be stored now.
func (l *lateRows) take(g *statements, all bool) []*lateRow {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	old := time.Now().Add(-ledgerWait)
	var taken, kept []*lateRow
	l.bytes = 0
	for _, r := range l.rows {
		if len(kept) > 0 || !all && !r.ended && r.Time.After(old) { // in order: a page that follows goes on behind the last
			kept, l.bytes = append(kept, r), l.bytes+len(r.text)
			continue
		}
		delete(l.open, r.ID)
		taken = append(taken, r)
	}
	if l.rows = kept; len(kept) > 0 {
		l.timer = time.AfterFunc(ledgerWait, func() { l.flush(g, false) })
	}
	return taken
}

// A foldedRow is a row of the ledger as it grows.
type foldedRow struct {
	*lateRow
	said strings.Builder // the text as it is shown
}

// foldable are rows that may share one.
type foldable struct {
	form            *sqlForm
	policy, outcome string
}

// fold makes rows of the ledger: as many as there are different statements, in the order of the first of each.
func fold(rows []*lateRow) []ledger.Operation {
	var folded []*foldedRow
	like := map[foldable]*foldedRow{}
	for _, r := range rows {
		k := foldable{r.form, r.Policy, r.Outcome}
		if f := like[k]; f != nil && r.ended && r.folds && f.said.Len()+len(r.apart) <= foldedText {
			f.add(r.Sequence, r.apart)
			continue
		}
		f := &foldedRow{lateRow: r}
		f.said.WriteString(show(r.text))
		if folded = append(folded, f); r.ended && r.folds {
			like[k] = f
		}
	}
	out := make([]ledger.Operation, len(folded))
	for i, f := range folded {
		f.Text, f.Facts = f.said.String(), f.form.withText(f.text)
		if f.Times > 0 {
			f.Times++
			f.Facts["times"] = f.Times
		}
		out[i] = f.Operation
	}
	return out
}

// add says that the statement ran again, as which of the session's operations, and with which numbers and values.
func (f *foldedRow) add(sequence int64, apart string) {
	f.Times++
	f.said.WriteString(" -- #")
	f.said.WriteString(strconv.FormatInt(sequence, 10))
	if apart = strings.TrimPrefix(strings.TrimPrefix(apart, "\n-- "), " "); apart != "" {
		f.said.WriteByte(' ')
		f.said.WriteString(show(apart))
	}
}
