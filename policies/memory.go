package policies

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// Memory is a [Store] that forgets everything when the program ends. It is for tests and for a gate that keeps no
// ledger; what it holds cannot be answered on another gate.
type Memory struct {
	mu       sync.Mutex
	holds    map[string]*Hold
	order    []string // ids, oldest first
	watchers map[chan string]struct{}
	advances []Advance // oldest first
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{holds: map[string]*Hold{}, watchers: map[chan string]struct{}{}}
}

// watcherBuffer is how many changes a receiver of HoldChanges may lag behind.
const watcherBuffer = 256

// PutHold implements [Store].
func (m *Memory) PutHold(ctx context.Context, h Hold) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, ok := m.holds[h.ID]; ok {
		return ErrHoldExists
	}
	h = h.clone()
	m.holds[h.ID] = &h
	m.order = append(m.order, h.ID)
	m.changed(h.ID)
	return nil
}

// AnswerHold implements [Store].
func (m *Memory) AnswerHold(ctx context.Context, id string, a Answer, next State) (Hold, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, err := m.in(ctx, id, StatePending)
	if err != nil {
		return Hold{}, err
	}
	a.Approver = *a.Approver.clone()
	h.Answers = append(h.Answers, a)
	h.State = next
	if next != StatePending {
		h.Ended = a.At
	}
	m.changed(id)
	return h.clone(), nil
}

// EndHold implements [Store].
func (m *Memory) EndHold(ctx context.Context, id string, from, to State, why string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, err := m.in(ctx, id, from)
	if err != nil {
		return err
	}
	h.State, h.Ended = to, now()
	if why != "" {
		h.Why = why
	}
	m.changed(id)
	return nil
}

// in returns a hold that must be in state.
func (m *Memory) in(ctx context.Context, id string, state State) (*Hold, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h, ok := m.holds[id]
	if !ok {
		return nil, ErrNoHold
	}
	if h.State != state {
		return nil, ErrNotPending
	}
	return h, nil
}

// Hold implements [Store].
func (m *Memory) Hold(ctx context.Context, id string) (Hold, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Hold{}, err
	}
	h, ok := m.holds[id]
	if !ok {
		return Hold{}, ErrNoHold
	}
	return h.clone(), nil
}

// Holds implements [Store].
func (m *Memory) Holds(ctx context.Context, f HoldFilter) ([]Hold, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var out []Hold
	for _, id := range slices.Backward(m.order) {
		h := m.holds[id]
		if len(f.States) > 0 && !slices.Contains(f.States, h.State) || h.Asked.Before(f.Since) {
			continue
		}
		out = append(out, h.clone())
	}
	slices.SortStableFunc(out, func(a, b Hold) int { return b.Asked.Compare(a.Asked) })
	if f.Limit > 0 && len(out) > f.Limit {
		out = out[:f.Limit]
	}
	return out, nil
}

// TouchHold implements [Store].
func (m *Memory) TouchHold(ctx context.Context, id, _ string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.in(ctx, id, StatePending); err != nil {
		return err
	}
	m.changed(id)
	return nil
}

// FindGrant implements [Store].
func (m *Memory) FindGrant(ctx context.Context, q GrantQuery) (Hold, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Hold{}, err
	}
	for _, id := range slices.Backward(m.order) {
		h := m.holds[id]
		if h.Principal.Key == q.Principal && h.Target.Name == q.Target && h.Action == q.Action && h.Text == q.Text && h.covers(q.Session, q.Now) {
			return h.clone(), nil
		}
	}
	return Hold{}, ErrNoGrant
}

// PutAdvance implements [AdvanceStore].
func (m *Memory) PutAdvance(ctx context.Context, a Advance) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.advance(a.ID) != nil {
		return ErrHoldExists
	}
	m.advances = append(m.advances, a.clone())
	return nil
}

func (m *Memory) advance(id string) *Advance {
	i := slices.IndexFunc(m.advances, func(a Advance) bool { return a.ID == id })
	if i < 0 {
		return nil
	}
	return &m.advances[i]
}

// Advance implements [AdvanceStore].
func (m *Memory) Advance(ctx context.Context, id string) (Advance, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.advance(id)
	if a == nil || ctx.Err() != nil {
		return Advance{}, cmp.Or(ctx.Err(), ErrNoAdvance)
	}
	return a.clone(), nil
}

// Advances implements [AdvanceStore].
func (m *Memory) Advances(ctx context.Context, endsAfter time.Time) ([]Advance, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Advance
	for _, a := range slices.Backward(m.advances) {
		if a.Until.After(endsAfter) {
			out = append(out, a.clone())
		}
	}
	return out, ctx.Err()
}

// UseAdvance implements [AdvanceStore].
func (m *Memory) UseAdvance(ctx context.Context, id string, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.advance(id)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case a == nil:
		return ErrNoAdvance
	case a.State(at) != "open":
		return ErrNotOpen
	}
	a.Used++
	return nil
}

// RevokeAdvance implements [AdvanceStore].
func (m *Memory) RevokeAdvance(ctx context.Context, id, by string, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.advance(id)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case a == nil:
		return ErrNoAdvance
	case !a.Revoked.IsZero():
		return ErrNotOpen
	}
	a.Revoked, a.RevokedBy = at, by
	return nil
}

// HoldChanges implements [Store].
func (m *Memory) HoldChanges(ctx context.Context) (<-chan string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ch := make(chan string, watcherBuffer)
	m.mu.Lock()
	m.watchers[ch] = struct{}{}
	m.mu.Unlock()
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, ch)
		close(ch)
	})
	return ch, nil
}

// changed tells everybody who watches, and waits for nobody. The caller holds mu.
func (m *Memory) changed(id string) {
	for ch := range m.watchers {
		select {
		case ch <- id:
		default:
		}
	}
}
