package sshd

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"
)

// What one source, or one identity, can write down by being refused. Lines beyond it are counted, and the
// counts are logged when the window is over; operations beyond it are counted by the ledger.
const (
	floodWindow      = time.Minute
	linesPerSource   = 10  // of each kind of line
	linesInAll       = 300 // of all kinds, from everybody
	denialsEach      = 200 // refused operations of one identity, each with a row of its own
	maxFloodKeys     = 10_000
	everybodyElseKey = "" // stands for what came after maxFloodKeys
)

// A limiter lets so many things of each key pass in a window and counts the others by their group. It is
// safe for concurrent use.
type limiter struct {
	each, all int

	mu     sync.Mutex
	ends   time.Time
	seen   map[string]int // by key
	passed int
	left   map[string]int // by group: what did not pass since the last report
}

func newLimiter(each, all int) *limiter {
	return &limiter{each: each, all: all, seen: map[string]int{}, left: map[string]int{}}
}

// take reports whether one more of key may pass.
func (l *limiter) take(key, group string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn()
	if len(l.seen) >= maxFloodKeys && l.seen[key] == 0 {
		key = everybodyElseKey
	}
	l.seen[key]++
	if l.seen[key] > l.each || l.passed >= l.all {
		l.left[group]++
		return false
	}
	l.passed++
	return true
}

// full reports whether key has used up its share of this window.
func (l *limiter) full(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn()
	return l.seen[key] >= l.each
}

// turn begins a new window when the last is over.
func (l *limiter) turn() {
	if now := time.Now(); !now.Before(l.ends) {
		l.ends, l.passed = now.Add(floodWindow), 0
		clear(l.seen)
	}
}

// report returns what was left out, by group, once its window is over, or at once if the gate stops.
func (l *limiter) report(stopping bool) map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.left) == 0 || !stopping && time.Now().Before(l.ends) {
		return nil
	}
	left := maps.Clone(l.left)
	clear(l.left)
	return left
}

// refused logs what a peer was refused; from is its source or identity.
func (s *Server) refused(log *slog.Logger, from, msg string, args ...any) {
	if s.lines.take(from+" "+msg, msg) {
		log.Warn(msg, args...)
	}
}

// reportFloods logs how much of what was refused is not in the log.
func (s *Server) reportFloods(stopping bool) {
	for msg, n := range s.lines.report(stopping) {
		s.o.Log.Warn("more of the same was left out of this log", "of", msg, "count", n)
	}
}

// watchFloods reports until ctx ends.
func (s *Server) watchFloods(ctx context.Context) {
	tick := time.NewTicker(floodWindow / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.reportFloods(true)
			return
		case <-tick.C:
			s.reportFloods(false)
		}
	}
}

// errTooManyRefused keeps out whoever goes on asking for what they are refused.
var errTooManyRefused = publicError("too many of your operations were refused in the last minute; try again in a minute")
