package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// openers is how many connections are being opened at once.
const openers = 16

// terminals is a crowd of open terminals, each on a connection of its own.
type terminals struct {
	mu      sync.Mutex
	clients []*client
	typing  []*typing
}

// openTerminals opens n. What it has opened is to be closed in any case.
func openTerminals(ctx context.Context, d *door, n int) (*terminals, error) {
	ts := new(terminals)
	if err := d.open(); err != nil { // before the others share it
		return ts, err
	}
	err := spread(n, func(int) error {
		c, err := d.dial(ctx)
		if err != nil {
			return err
		}
		t, err := c.terminal()
		ts.mu.Lock()
		defer ts.mu.Unlock()
		ts.clients = append(ts.clients, c)
		ts.typing = append(ts.typing, t)
		return err
	})
	return ts, err
}

// spread does f(0) to f(n-1), openers at a time, and stops at the first error of each.
func spread(n int, f func(i int) error) error {
	return together(min(openers, n), func(first int) error {
		for i := first; i < n; i += openers {
			if err := f(i); err != nil {
				return err
			}
		}
		return nil
	})
}

// answer types a key in each and sees it come back: all of them are alive.
func (ts *terminals) answer() error {
	return spread(len(ts.typing), func(i int) error {
		_, err := ts.typing[i].key('x')
		return err
	})
}

func (ts *terminals) close() {
	for _, c := range ts.clients {
		_ = c.Close() // it may have failed, which was said
	}
}

// A crowdResult is what a crowd of terminals cost.
type crowdResult struct {
	opening, answering time.Duration
	own, sessions      float64 // bytes for each terminal
}

// gather opens n terminals and looks at the memory of a server that did little before.
func (b *bench) gather(ctx context.Context, s *server, d *door, n int) (r crowdResult, err error) {
	ctx, cancel := context.WithTimeout(ctx, 4*trialLimit)
	defer cancel()
	warm, err := openTerminals(ctx, d, openers)
	warm.close()
	if err != nil {
		return r, err
	}
	own, sessions, err := b.memoryOf(ctx, s)
	if err != nil {
		return r, err
	}
	begun := time.Now()
	ts, err := openTerminals(ctx, d, n)
	defer ts.close()
	if err != nil {
		return r, fmt.Errorf("%d of %d were opened: %w", len(ts.clients), n, err)
	}
	r.opening, begun = time.Since(begun), time.Now()
	if err := ts.answer(); err != nil {
		return r, err
	}
	r.answering = time.Since(begun)
	ownNow, sessionsNow, err := b.memoryOf(ctx, s)
	r.own, r.sessions = (ownNow-own)/float64(n), (sessionsNow-sessions)/float64(n)
	return r, err
}

func (b *bench) memoryOf(ctx context.Context, s *server) (own, sessions float64, err error) {
	if _, err := s.proc.settle(ctx); err != nil {
		return 0, 0, err
	}
	return s.proc.memory()
}

// fresh runs f with a gate and a plain server that did nothing before: memory that a busy process keeps
// for later would hide what terminals take.
func (b *bench) fresh(ctx context.Context, name string, f func(gate, plain *server) error) error {
	gate, err := b.startGate(ctx, name)
	if err != nil {
		return err
	}
	plain, err := b.startPlain(ctx)
	if err != nil {
		return err
	}
	err = f(gate, plain)
	return errors.Join(err, b.drop(gate.proc), b.drop(plain.proc))
}

// idle measures what a terminal takes in which nothing happens.
func (b *bench) idle(ctx context.Context) error {
	n := 200
	if b.o.quick {
		n = 50
	}
	t := b.report.table(fmt.Sprintf("Memory of an idle terminal: %d open, a connection each", n),
		"Proportional set size (what processes share counts once) after, less before. On the gate recorded and in a sandbox.")
	return b.fresh(ctx, "gate-idle", func(gate, plain *server) error {
		var own, sessions [3]float64
		for i, s := range []*server{gate, plain, b.openssh} {
			r, err := b.gather(ctx, s, s.box, n)
			if err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
			own[i], sessions[i] = r.own/1e3, r.sessions/1e3
		}
		t.add(row{What: "the server", Unit: "KB", Value: own, Aim: aim{"< 200 KB", func(r row) bool { return r.Value[0] < 200 }}})
		t.add(row{What: "sandbox, shell and cat", Unit: "KB", Value: sessions})
		return nil
	})
}

// crowd opens as many terminals as an afternoon has.
func (b *bench) crowd(ctx context.Context) error {
	n := b.o.sessions
	t := b.report.table(fmt.Sprintf("%d terminals at once, a connection each, all of which answer", n),
		"On the gate's target without a sandbox, recorded. OpenSSH is left out: it would only take long.")
	return b.fresh(ctx, "gate-many", func(gate, plain *server) error {
		var rate, answer, own [3]float64
		for i, e := range []entry{{gate, gate.bare}, {plain, plain.box}} {
			r, err := b.gather(ctx, e.s, e.d, n)
			if err != nil {
				return fmt.Errorf("%s: %w", e.s.Name, err)
			}
			rate[i], answer[i], own[i] = float64(n)/r.opening.Seconds(), float64(r.answering)/1e6/float64(n), r.own/1e3
		}
		t.add(row{What: "opened", Unit: "/s", More: true, Value: rate})
		t.add(row{What: "a key in each of them", Unit: "ms each", Value: answer})
		t.add(row{What: "the server's memory", Unit: "KB each", Value: own, Aim: aim{"< 200 KB", func(r row) bool { return r.Value[0] < 200 }}})
		return nil
	})
}
