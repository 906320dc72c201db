package sshd

import "time"

// A Meter counts what happens at the door, for graphs and alarms. Its methods are safe for concurrent use and
// return at once. Words are this package's own or the policies' schema's, never a peer's.
type Meter interface {
	// Handshake counts a connection when it is decided on: "ok", "failed" (nothing was proved), "refused"
	// (proved, and not let in) or "turned_away" (before anything was said).
	Handshake(result string, took time.Duration)
	// Connection counts authenticated connections that open (1) and close (-1).
	Connection(delta int)
	// Session counts sessions that begin (1) and end (-1); kind is shell, exec, subsystem, forward or gate.
	Session(kind string, delta int)
	// Decision counts a decision; took includes what was written down of it.
	Decision(action, effect string, took time.Duration)
	// Held counts operations that begin to wait for a human (1) and end that (-1).
	Held(delta int)
	// Answered counts how a hold ended: approved, denied, expired, withdrawn or failed.
	Answered(outcome string)
	// Masked counts a value that was masked.
	Masked()
}

// unmetered counts nothing.
type unmetered struct{}

func (unmetered) Handshake(string, time.Duration)        {}
func (unmetered) Connection(int)                         {}
func (unmetered) Session(string, int)                    {}
func (unmetered) Decision(string, string, time.Duration) {}
func (unmetered) Held(int)                               {}
func (unmetered) Answered(string)                        {}
func (unmetered) Masked()                                {}
