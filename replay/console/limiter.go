package console

import (
	"errors"
	"sync"
)

// maxStreams bounds the streams, verifications and downloads that one viewer has under way.
const maxStreams = 12

var errBusy = errors.New("too many streams of this viewer are open")

// limiter counts what each viewer has under way.
type limiter struct {
	max int

	mu  sync.Mutex
	now map[string]int
}

// take reports whether one more is within bounds, and counts it if so.
func (l *limiter) take(who string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now[who] >= l.max {
		return false
	}
	if l.now == nil {
		l.now = map[string]int{}
	}
	l.now[who]++
	return true
}

// give undoes one take.
func (l *limiter) give(who string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now[who]--; l.now[who] <= 0 {
		delete(l.now, who)
	}
}
