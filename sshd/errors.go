package sshd

import (
	"errors"
	"fmt"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// A publicError is one whose text is for the one at the other end.
type publicError string

func (e publicError) Error() string      { return string(e) }
func (e publicError) PublicText() string { return string(e) }

// publicf makes one; what a peer sent goes through show first.
func publicf(format string, args ...any) error { return publicError(fmt.Sprintf(format, args...)) }

// A targetError is a target that could not be reached, or was lost.
type targetError struct {
	target string
	err    error
}

func (e *targetError) Error() string { return fmt.Sprintf("target %s: %v", e.target, e.err) }
func (e *targetError) Unwrap() error { return e.err }

// forPeers are errors of other rooms whose own text may be shown.
var forPeers = []error{
	policies.ErrNoHold, policies.ErrNotPending, policies.ErrOwnRequest, policies.ErrNotApprover, policies.ErrAnswered,
	policies.ErrReason, policies.ErrTooManyHolds, policies.ErrScope, policies.ErrNoAdvance,
	policies.ErrNotOpen, policies.ErrNotAllowed, ledger.ErrNotFound, ledger.ErrEnded, ledger.ErrTooLong,
}

// publicText is what may be shown to the peer of an error: nothing that was not written to be shown. The
// rest is for the operator's log.
func publicText(err error) string {
	text := "something failed inside the gate; its log has the reason"
	var public interface {
		error
		PublicText() string
	}
	if errors.As(err, &public) {
		text = public.PublicText()
	}
	var target *targetError
	if errors.As(err, &target) {
		text = fmt.Sprintf("target %s: %s", target.target, text)
	}
	for _, known := range forPeers {
		if errors.Is(err, known) {
			text = err.Error()
		}
	}
	return show(text)
}
