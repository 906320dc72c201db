package policies

import "sync/atomic"

// Engine holds the set in force. It is safe for concurrent use. An Engine without a set denies.
type Engine struct{ set atomic.Pointer[Set] }

// NewEngine returns an engine in which s is in force.
func NewEngine(s *Set) *Engine {
	e := &Engine{}
	e.Swap(s)
	return e
}

// Decide answers r by the set in force at this moment.
func (e *Engine) Decide(r Request) Decision { return e.Set().Decide(r) }

// Set returns the set in force.
func (e *Engine) Set() *Set {
	if e == nil {
		return nil
	}
	return e.set.Load()
}

// Swap puts s in force and returns the set that was. Decisions under way are made wholly by one or the other.
func (e *Engine) Swap(s *Set) *Set { return e.set.Swap(s) }
