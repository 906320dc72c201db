package console

import (
	"sync"
	"time"
)

const (
	// watchTime is how long a look at one recording lasts before it is written down as another one.
	watchTime = 10 * time.Minute
	// maxWatched bounds how many recordings one browser has under way; more are written down more often.
	maxWatched = 64
)

// looks remembers which looks of one browser are in the audit log already.
type looks struct {
	mu sync.Mutex
	at map[string]time.Time // session id -> when it was written down
}

func (w *looks) watching(id string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.at[id]
	return ok && now.Sub(at) < watchTime
}

func (w *looks) watched(id string, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at == nil || len(w.at) >= maxWatched {
		w.at = map[string]time.Time{}
	}
	w.at[id] = now
}
