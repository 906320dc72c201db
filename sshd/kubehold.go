package sshd

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
)

// holdAnswer is how long a request in a tunnel waits before its client is told what it waits for. Programs show nothing of a
// request that waits, and give up at some time.
const holdAnswer = 10 * time.Second

// parked are the requests of a connection's tunnels that wait for an answer although their clients may have left. The
// identical request that comes next in one of its tunnels takes up where they stand. Its zero value is ready.
type parked struct {
	mu sync.Mutex
	m  map[parkedKey]*parkedRequest
}

type parkedKey struct{ target, action, text string }

// A parkedRequest is one that waits. It is the witness of its own operation, since the session that asked may be over
// when the answer comes.
type parkedRequest struct {
	by    *kubeSession  // whose record has the operation
	asked chan struct{} // closed when a human was asked
	done  chan struct{} // closed when it was decided on
	taken chan struct{} // closed when somebody has taken it up, or nobody will
	undo  context.CancelFunc

	op       Operation         // \ good once asked or done is closed
	decision policies.Decision // /
	held     policies.Hold     // good once asked is closed
	ended    policies.Hold     // \ good once done is closed
	err      error             // /

	waiting int  // requests that wait for it; with the lock of parked held
	told    bool // one of them was told to come back
}

// park decides on op, which is held: it returns when that is decided, or with a refusal that says what it waits for.
func (k *kubeSession) park(ctx context.Context, op Operation) error {
	ps, key := &k.c.parked, parkedKey{op.Target.Name, op.Action, op.Text}
	timer := time.NewTimer(holdAnswer)
	defer timer.Stop()
	for {
		p := ps.join(k, key, op)
		select {
		case <-p.done:
			if ps.leave(key, p, true, false) {
				return k.resume(op, p)
			}
		case <-timer.C:
			ps.leave(key, p, false, true)
			return p.comeBack()
		case <-ctx.Done():
			ps.leave(key, p, false, false)
			if why := cause(k.ctx); why != nil {
				return why
			}
			return &Refusal{Effect: policies.EffectHold, Code: ExitHeld, Public: "withdrawn: the one who asked is gone"}
		}
	}
}

// join finds the request that waits already, or asks.
func (ps *parked) join(k *kubeSession, key parkedKey, op Operation) *parkedRequest {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.m[key]
	if p == nil {
		p = &parkedRequest{by: k, asked: make(chan struct{}), done: make(chan struct{}), taken: make(chan struct{})}
		if ps.m == nil {
			ps.m = map[parkedKey]*parkedRequest{}
		}
		ps.m[key] = p
		var ctx context.Context
		ctx, p.undo = context.WithCancel(k.c.ctx)
		k.c.wg.Go(func() { ps.wait(ctx, key, p, op) })
	}
	p.waiting++
	return p
}

// wait has p decided on, and keeps the answer for as long as somebody had to give it.
func (ps *parked) wait(ctx context.Context, key parkedKey, p *parkedRequest, op Operation) {
	defer p.undo()
	p.err = p.by.c.srv.o.Gate.Admit(ctx, op, p)
	close(p.done)
	keep := time.NewTimer(max(p.ended.Terms.Wait, holdAnswer))
	defer keep.Stop()
	select {
	case <-p.taken:
	case <-keep.C:
	case <-ctx.Done():
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.m[key] == p && p.waiting == 0 {
		delete(ps.m, key)
	}
}

// leave ends one's waiting for p. Take asks for its answer, which one gets and no other; told says that one was told to come
// back. A request that nobody waits for and nobody was told of is withdrawn.
func (ps *parked) leave(key parkedKey, p *parkedRequest, take, told bool) (mine bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p.waiting--
	p.told = p.told || told
	switch {
	case ps.m[key] != p:
		return false
	case take:
		delete(ps.m, key)
		close(p.taken)
		return true
	case p.waiting == 0 && !p.told:
		delete(ps.m, key)
		p.undo()
	}
	return false
}

// comeBack says what p waits for.
func (p *parkedRequest) comeBack() error {
	select {
	case <-p.asked:
	default:
		return &Refusal{Effect: policies.EffectHold, Code: ExitHeld, Public: "held; try again"}
	}
	h := p.held
	return &Refusal{
		Effect: policies.EffectHold, Code: ExitHeld, HoldID: h.ID, Policy: h.Policy,
		Public: fmt.Sprintf("held: request %s waits until %s for an approval by %s. Do the same again when it is approved; `ssh gate wait %s` tells when",
			h.ID, h.Expires.UTC().Format("15:04:05 UTC"), show(strings.Join(h.MayAnswerNow(time.Now()), " or ")), h.ID),
	}
}

// resume goes on with op as p was decided on, and writes that down in the session that now runs it.
func (k *kubeSession) resume(op Operation, p *parkedRequest) error {
	var err error
	if op.ID = p.op.ID; p.by != k {
		op.ID, op.HoldID = NewSessionID(), p.ended.ID
		err = k.Decided(op, p.decision)
	}
	if p.ended.ID == "" { // it was not held after all: policies have changed
		if err == nil {
			err = p.err
		}
		return err
	}
	if err == nil {
		err = k.Answered(op, p.ended, p.err)
	}
	if p.err != nil {
		return p.err
	}
	if err != nil {
		return &Refusal{Code: ExitDenied, Public: "it could not be recorded", HoldID: p.ended.ID, Err: err}
	}
	if ends := p.ended.GrantEnds(); !ends.IsZero() && time.Now().After(ends) {
		return &Refusal{Effect: policies.EffectHold, Code: ExitHeld, Public: "its approval has ended", HoldID: p.ended.ID, Policy: p.ended.Policy}
	}
	return nil
}

// Decided writes the operation into the record of the session that asks.
func (p *parkedRequest) Decided(op Operation, d policies.Decision) error {
	p.op, p.decision = op, d
	return p.by.Decided(op, d)
}

// Held tells those who wait that a human was asked.
func (p *parkedRequest) Held(op Operation, h policies.Hold) {
	p.held = h
	close(p.asked)
	p.by.Held(op, h)
}

// Answered keeps the answer for whoever takes it up. The ledger has it at once.
func (p *parkedRequest) Answered(op Operation, h policies.Hold, refused error) error {
	p.ended = h
	outcome := "approved by " + approvedBy(h)
	if refused != nil {
		outcome = publicText(refused)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.by.ctx), ledgerTimeout)
	defer cancel()
	return p.by.c.srv.o.Ledger.SetOutcome(ctx, op.ID, outcome)
}
