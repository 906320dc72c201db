package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/sallyport-ssh/sallyport/policies"
)

// ErrFault is what a failing step returns.
var ErrFault = errors.New("storage fault")

// Fault says how a step fails.
type Fault int

// The two ways in which a store lets one down.
const (
	Dropped Fault = iota // nothing happened
	Kept                 // it happened, and was reported as failed
)

// String names f.
func (f Fault) String() string {
	if f == Kept {
		return "kept"
	}
	return "dropped"
}

// Faulty is a store in which chosen steps fail. The zero value is not usable: see NewFaulty.
type Faulty struct {
	policies.Store
	mu     sync.Mutex
	faults map[string]Fault
	counts map[string]int
	calls  []string
}

// NewFaulty wraps s.
func NewFaulty(s policies.Store) *Faulty {
	return &Faulty{Store: s, faults: map[string]Fault{}, counts: map[string]int{}}
}

// Fail lets the nth call (from 1) of a step fail. A step is the name of a method, for EndHold with the state it leads
// to: "EndHold:consumed". N 0 fails every call.
func (f *Faulty) Fail(step string, n int, how Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[fmt.Sprintf("%s#%d", step, n)] = how
}

// Steps returns the steps taken so far.
func (f *Faulty) Steps() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

// step runs do, unless this call is to fail.
func (f *Faulty) step(name string, do func() error) error {
	f.mu.Lock()
	f.counts[name]++
	f.calls = append(f.calls, name)
	how, fails := f.faults[fmt.Sprintf("%s#%d", name, f.counts[name])]
	if !fails {
		how, fails = f.faults[name+"#0"]
	}
	f.mu.Unlock()
	if !fails {
		return do()
	}
	if how == Kept {
		if err := do(); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: %w", name, ErrFault)
}

// PutHold implements [policies.Store].
func (f *Faulty) PutHold(ctx context.Context, h policies.Hold) error {
	return f.step("PutHold", func() error { return f.Store.PutHold(ctx, h) })
}

// AnswerHold implements [policies.Store].
func (f *Faulty) AnswerHold(ctx context.Context, id string, a policies.Answer, next policies.State) (h policies.Hold, err error) {
	err = f.step("AnswerHold", func() error {
		h, err = f.Store.AnswerHold(ctx, id, a, next)
		return err
	})
	return h, err
}

// EndHold implements [policies.Store].
func (f *Faulty) EndHold(ctx context.Context, id string, from, to policies.State, why string) error {
	return f.step("EndHold:"+string(to), func() error { return f.Store.EndHold(ctx, id, from, to, why) })
}

// TouchHold implements [policies.Store].
func (f *Faulty) TouchHold(ctx context.Context, id, event string) error {
	return f.step("TouchHold", func() error { return f.Store.TouchHold(ctx, id, event) })
}

// Hold implements [policies.Store].
func (f *Faulty) Hold(ctx context.Context, id string) (h policies.Hold, err error) {
	err = f.step("Hold", func() error {
		h, err = f.Store.Hold(ctx, id)
		return err
	})
	return h, err
}

// Holds implements [policies.Store].
func (f *Faulty) Holds(ctx context.Context, filter policies.HoldFilter) (hs []policies.Hold, err error) {
	err = f.step("Holds", func() error {
		hs, err = f.Store.Holds(ctx, filter)
		return err
	})
	return hs, err
}

// FindGrant implements [policies.Store].
func (f *Faulty) FindGrant(ctx context.Context, q policies.GrantQuery) (h policies.Hold, err error) {
	err = f.step("FindGrant", func() error {
		h, err = f.Store.FindGrant(ctx, q)
		return err
	})
	return h, err
}

// HoldChanges implements [policies.Store].
func (f *Faulty) HoldChanges(ctx context.Context) (ch <-chan string, err error) {
	err = f.step("HoldChanges", func() error {
		ch, err = f.Store.HoldChanges(ctx)
		return err
	})
	return ch, err
}
