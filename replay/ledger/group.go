package ledger

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

const (
	// maxGroup bounds the operations of one transaction, so that nobody waits long for others.
	maxGroup = 64
	// groupTimeout bounds a transaction that several callers wait for, whose contexts differ.
	groupTimeout = 30 * time.Second
)

// A group stores operations that are added at the same time in one transaction. It starts no goroutine:
// whoever finds nobody writing writes, for all who wait, and then hands over to one who came meanwhile.
type group struct {
	write func(ctx context.Context, batch []*member) error

	mu      sync.Mutex
	waiting []*member
	led     bool // somebody writes, or has been told to
}

// A member is one operation of a group.
type member struct {
	op   preparedOperation
	err  error // set by write: this one is refused, the others are not
	done chan error
	turn chan struct{}
	next bool // told to write; guarded by the group's mu
}

// add returns when op is stored, or is certain not to be.
func (g *group) add(ctx context.Context, op preparedOperation) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m := &member{op: op, done: make(chan error, 1), turn: make(chan struct{}, 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, m)
	lead := !g.led
	g.led = true
	g.mu.Unlock()
	if lead {
		g.lead(ctx)
		return <-m.done
	}
	select {
	case err := <-m.done:
		return err
	case <-m.turn:
		g.lead(ctx)
	case <-ctx.Done():
		if g.leave(m) {
			return ctx.Err()
		}
		select {
		case <-m.turn:
			g.lead(ctx) // others wait for this one to write
		default: // it is being written
		}
	}
	return <-m.done
}

// leave takes m back, unless it is being written or its turn to write has come.
func (g *group) leave(m *member) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, m)
	if i < 0 || m.next {
		return false
	}
	g.waiting = slices.Delete(g.waiting, i, i+1)
	return true
}

// lead writes what waits, of which the first is the caller's.
func (g *group) lead(ctx context.Context) {
	g.mu.Lock()
	n := min(len(g.waiting), maxGroup)
	batch := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	g.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), groupTimeout)
	err := g.write(ctx, batch)
	cancel()

	g.mu.Lock()
	if g.led = len(g.waiting) > 0; g.led {
		g.waiting[0].next = true
		g.waiting[0].turn <- struct{}{}
	}
	g.mu.Unlock()
	for _, m := range batch {
		if m.err == nil {
			m.err = err
		}
		m.done <- m.err
	}
}

// writeGroup is the write of SQLite's group. An operation that is refused leaves the others as they are:
// SQLite takes back the statement only.
func (l *Ledger) writeGroup(ctx context.Context, batch []*member) error {
	return l.atomically(ctx, func(t tx) error {
		for _, m := range batch {
			err := t.addOperation(ctx, m.op)
			if errors.Is(err, ErrExists) || errors.Is(err, ErrNotFound) {
				m.err = err
			} else if err != nil {
				return err
			}
		}
		return nil
	})
}
