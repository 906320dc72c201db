package sshd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/shells"
	"github.com/sallyport-ssh/sallyport/shells/postgres"
)

// forwardPostgres terminates a forward to a database: the client speaks PostgreSQL's protocol with this gate.
// It is a session like any other.
func (c *connection) forwardPostgres(nc ssh.NewChannel, t *Target) {
	s := &session{c: c, id: NewSessionID(), route: route{target: t}, started: time.Now()}
	s.asked = asked{kind: "forward"}
	s.ctx, s.cancel = context.WithCancelCause(c.ctx)
	defer s.cancel(nil)
	err := c.srv.o.Gate.Admit(s.ctx, Operation{
		SessionID: s.id, ConnectionID: c.id, Principal: c.principal, Target: t.Target,
		Action: "forward:open", Facts: map[string]any{"source": c.source.String()}, Unheld: true,
	}, &forward{c: c, target: t})
	if err != nil {
		_ = nc.Reject(ssh.Prohibited, "sallyport: "+publicText(err))
		return
	}
	c.srv.remembered(s, func() {
		err := s.relayPostgres(nc)
		s.seal(shells.Exit{}, err)
	})
}

func (s *session) relayPostgres(nc ssh.NewChannel) error {
	ch, requests, err := nc.Accept()
	if err != nil {
		return err
	}
	defer ch.Close()
	go ssh.DiscardRequests(requests) // ends with the channel
	g := &statements{session: s, own: true}
	err = s.route.target.Postgres.Serve(s.ctx, innerConn{Channel: ch, local: s.c.ssh.LocalAddr(), remote: s.c.ssh.RemoteAddr()}, g)
	if why := cause(s.ctx); why != nil {
		return why
	}
	var refusal *postgres.Refusal
	if errors.As(err, &refusal) {
		return publicError(refusal.Message)
	}
	if err != nil && s.recording == nil {
		s.c.log.Info("connection to a database ended before it was let in", "target", s.route.target.Name, "reason", show(err.Error()))
	}
	return err
}

// statements decides on what one connection to a database does, and writes it down. What is allowed is in
// the recording before it runs, and in the ledger a moment later, many at once.
type statements struct {
	*session
	own   bool // the session is this connection; else it is psql's, which shows its own
	clear bool

	rows  sync.Mutex // guards what follows
	late  []*ledger.Operation
	let   map[string]string // how operations were approved, by id, until they are done
	timer *time.Timer
}

// Rows for the ledger wait no longer than this, and no more of them than that.
const (
	ledgerWait = 200 * time.Millisecond
	ledgerRows = 256
)

// Open decides on the session.
func (g *statements) Open(ctx context.Context, o postgres.Opening, held func(postgres.Held)) error {
	s := g.session
	if g.own {
		s.route.login = o.Login
		s.asked.reason, s.asked.command = o.Reason, o.Database
	}
	if g.own || o.Login != s.route.login {
		facts := s.openFacts()
		facts["login"] = o.Login
		if err := g.admit(ctx, "session:open", "", facts, held, nil); err != nil {
			return err
		}
	}
	if o.Unmask && g.own {
		if err := g.admit(ctx, "unmask", "see clear text in this session", map[string]any{"login": o.Login}, held, nil); err != nil {
			return err
		}
		g.clear = true
	}
	return nil
}

// Clear is whether the client sees clear text. What psql shows on the gate goes through the terminal's masks
// into the record, which do not know columns: so where some are protected psql never has them.
func (g *statements) Clear() bool {
	return g.clear || g.session.clear && !g.own && !g.route.target.Postgres.Guarded()
}

// Admit decides on a statement.
func (g *statements) Admit(ctx context.Context, st postgres.Statement, held func(postgres.Held)) (string, error) {
	var id string
	err := g.admit(ctx, st.Action, st.Text, st.Facts, held, &id)
	return id, err
}

// admit puts an operation through the gate. Id, if not nil, gets the operation's.
func (g *statements) admit(ctx context.Context, action, text string, facts map[string]any, held func(postgres.Held), id *string) error {
	s := g.session
	facts["source"] = s.c.source.String()
	err := s.c.srv.o.Gate.Admit(ctx, Operation{
		SessionID: s.id, ConnectionID: s.c.id, Principal: s.c.principal, Target: s.route.target.Target,
		Action: action, Text: text, Facts: facts, Justification: s.asked.reason,
	}, &sqlWitness{statements: g, tell: held, id: id})
	if why := cause(s.ctx); err != nil && why != nil {
		return why
	}
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return g.refusal(refusal)
	}
	return err
}

// refusal is r in the words of the protocol.
func (g *statements) refusal(r *Refusal) *postgres.Refusal {
	out := &postgres.Refusal{Message: show(r.Public), Err: r}
	if r.Policy.ID != "" {
		out.Hint = "policy " + r.Policy.ID
	}
	if g.asked.json {
		out.Hint = jsonLine(notice{Event: "refused", ID: r.HoldID, Target: g.route.target.Name, Policy: r.Policy.ID, Reason: r.Public, Exit: r.Code})
	}
	return out
}

func jsonLine(n notice) string {
	b, err := json.Marshal(n)
	if err != nil {
		return "" // strings and numbers only
	}
	return string(b)
}

// A sqlWitness is the witness of one statement.
type sqlWitness struct {
	*statements
	tell func(postgres.Held)
	id   *string
}

// Decided writes the decision down: into the recording at once, and into the ledger with others, unless
// somebody will look for it there.
func (w *sqlWitness) Decided(op Operation, d policies.Decision) error {
	s := w.session
	if w.id != nil {
		*w.id = op.ID
	}
	if s.recording == nil || d.Effect != policies.EffectAllow {
		w.flush()
		return s.Decided(op, d)
	}
	s.opMu.Lock()
	s.sequence++
	sequence := s.sequence
	s.opMu.Unlock()
	now := time.Now()
	text, facts := s.maskText(op.Text), s.maskFacts(op.Facts)
	if err := s.recorded(s.recording.Note("op", map[string]any{
		"id": op.ID, "action": op.Action, "text": text, "facts": facts,
		"decision": effectOf(d), "policy": firstRef(d).ID, "why": d.Why,
	})); err != nil {
		return err
	}
	w.later(&ledger.Operation{
		ID: op.ID, SessionID: s.id, Sequence: sequence, Offset: now.Sub(s.started), Time: now, Action: op.Action,
		Text: show(text), Facts: facts, Decision: effectOf(d), Policy: firstRef(d).ID,
	})
	return nil
}

// later keeps a row for the ledger.
func (g *statements) later(o *ledger.Operation) {
	g.rows.Lock()
	g.late = append(g.late, o)
	n := len(g.late)
	if n == 1 {
		g.timer = time.AfterFunc(ledgerWait, g.flush)
	}
	g.rows.Unlock()
	if n >= ledgerRows {
		g.flush()
	}
}

// Close stores what waits.
func (g *statements) Close() { g.flush() }

// flush stores the rows that wait. A ledger that cannot store them ends the session.
func (g *statements) flush() {
	g.rows.Lock()
	defer g.rows.Unlock()
	if len(g.late) == 0 {
		return
	}
	g.timer.Stop()
	rows := make([]ledger.Operation, len(g.late))
	for i, o := range g.late {
		rows[i] = *o
	}
	g.late = nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(g.ctx), ledgerTimeout)
	defer cancel()
	if err := g.c.srv.o.Ledger.AddOperations(ctx, rows); err != nil {
		g.cancel(fmt.Errorf("ledger: %w", err))
	}
}

// Held tells the client, by a notice, that a human has been asked.
func (w *sqlWitness) Held(op Operation, h policies.Hold) {
	s := w.session
	s.c.log.Info("held", "session", s.id, "hold", h.ID, "action", op.Action, "policy", h.Policy.ID)
	if err := s.recorded(s.recording.Note("hold", map[string]any{
		"id": h.ID, "op": op.ID, "state": h.State, "approvers": h.Terms.Approvers, "expires": h.Expires.UTC(), "policy": h.Policy,
	})); err != nil {
		s.cancel(err)
		return
	}
	n := noticeOf("held", h)
	held := postgres.Held{
		Message: fmt.Sprintf("held: waiting up to %v for an approval by %s, request %s", h.Terms.Wait, show(strings.Join(n.Approvers, " or ")), h.ID),
		Hint:    "policy " + h.Policy.ID,
	}
	if s.asked.json {
		held.Detail = jsonLine(n)
	}
	w.tell(held)
}

// Progressed is not told to the client: a notice for each step would be many.
func (w *sqlWitness) Progressed(op Operation, h policies.Hold) {
	given, needed := h.Progress()
	if err := w.recorded(w.recording.Note("hold", map[string]any{
		"id": h.ID, "op": op.ID, "state": h.State, "approved": given, "needed": needed, "approvers": h.MayAnswerNow(time.Now()),
	})); err != nil {
		w.cancel(err)
	}
}

// Answered writes down how the hold ended.
func (w *sqlWitness) Answered(op Operation, h policies.Hold, refused error) error {
	if err := w.noteAnswer(op, h, refused); err != nil || refused != nil {
		return err
	}
	by := "approved by " + approvedBy(h)
	w.rows.Lock()
	if w.let == nil {
		w.let = map[string]string{}
	}
	w.let[op.ID] = by
	w.rows.Unlock()
	w.tell(postgres.Held{Message: by})
	if op.Action == "session:open" || op.Action == "unmask" {
		w.endWithGrant(op, h)
	}
	return nil
}

// Done notes how a statement ended.
func (g *statements) Done(r postgres.Result) error {
	outcome := r.Tag
	if r.Code != "" {
		outcome = "error " + r.Code
	}
	g.rows.Lock()
	known := false
	if by, ok := g.let[r.ID]; ok {
		outcome = by + ": " + outcome
		delete(g.let, r.ID)
	}
	for _, o := range g.late {
		if o.ID == r.ID {
			o.Outcome, known = outcome, true
		}
	}
	g.rows.Unlock()
	if r.Masked > 0 {
		g.recording.Masked(int(r.Masked))
	}
	if err := g.recorded(g.recording.Note("result", map[string]any{
		"op": r.ID, "tag": r.Tag, "code": r.Code, "rows": r.Rows, "bytes": r.Bytes, "masked": r.Masked, "ms": float64(r.Duration.Microseconds()) / 1000,
	})); err != nil {
		return err
	}
	if known {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(g.ctx), ledgerTimeout)
	defer cancel()
	if err := g.c.srv.o.Ledger.SetOutcome(ctx, r.ID, outcome); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

// Show puts what a player shows into the recording; psql's sessions show themselves.
func (g *statements) Show(text []byte) error {
	if !g.own {
		return nil
	}
	return g.recordOutput(replay.Stdout, text)
}
