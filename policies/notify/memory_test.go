package notify

import (
	"context"
	"sync"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
)

// memory is a Log that can be told to fail.
type memory struct {
	*policies.Memory
	mu     sync.Mutex
	events []Event
	done   map[string]int64
	owner  map[string]string
	until  map[string]time.Time
	now    func() time.Time
}

func newMemory() *memory {
	return &memory{Memory: policies.NewMemory(), done: map[string]int64{}, owner: map[string]string{}, until: map[string]time.Time{}, now: time.Now}
}

func (m *memory) add(hold, what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, Event{N: int64(len(m.events) + 1), Hold: hold, What: what, At: m.now()})
}

func (m *memory) Events(_ context.Context, after int64, limit int) ([]Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := append([]Event(nil), m.events[after:]...)
	return out[:min(len(out), limit)], nil
}

func (m *memory) Lease(_ context.Context, name, owner string, until time.Time) (int64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.owner[name] != owner && m.now().Before(m.until[name]) {
		return 0, false, nil
	}
	m.owner[name], m.until[name] = owner, until
	return m.done[name], true, nil
}

func (m *memory) Done(_ context.Context, name, _ string, n int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done[name] = n
	return nil
}

func (m *memory) cursor(name string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.done[name]
}
