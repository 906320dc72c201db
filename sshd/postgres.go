package sshd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/filters/mask"
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
	texts *mask.Stream // for the goroutine that admits; nil: not yet made
	late  lateRows

	mu  sync.Mutex        // guards what follows
	let map[string]string // how operations were approved, by id, until they are done
}

// A sqlForm is what is remembered of statements that differ in nothing but the values bound to them.
type sqlForm struct {
	memo   Memo
	facts  map[string]any // without the text
	masked map[string]any // the same, masked
	text   string         // masked, without values
	noted  string         // the operation whose note in the recording has the facts; "": none
}

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
		if err := g.admit(ctx, Operation{Action: "session:open", Facts: facts}, &sqlWitness{statements: g, tell: held}); err != nil {
			return err
		}
	}
	if o.Unmask && g.own {
		op := Operation{Action: "unmask", Text: "see clear text in this session", Facts: map[string]any{"login": o.Login}}
		if err := g.admit(ctx, op, &sqlWitness{statements: g, tell: held}); err != nil {
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
	w := &sqlWitness{statements: g, tell: held, form: g.form(st), apart: st.Apart}
	err := g.admit(ctx, Operation{Action: st.Action, Text: st.Text, Facts: w.form.facts, Memo: &w.form.memo}, w)
	return w.id, err
}

// form is what is remembered of statements like st.
func (g *statements) form(st postgres.Statement) *sqlForm {
	if f, ok := st.Form.Memory.(*sqlForm); ok {
		return f
	}
	f := &sqlForm{facts: maps.Clone(st.Facts), text: g.maskText(st.Form.Text)}
	f.facts["source"] = g.c.source.String()
	f.masked = g.maskFacts(f.facts)
	st.Form.Memory = f
	return f
}

// admit puts an operation of the session through the gate.
func (g *statements) admit(ctx context.Context, op Operation, w *sqlWitness) error {
	s := g.session
	op.SessionID, op.ConnectionID, op.Principal, op.Target = s.id, s.c.id, s.c.principal, s.route.target.Target
	op.Justification = s.asked.reason
	if w.form == nil {
		op.Facts["source"] = s.c.source.String()
	}
	err := s.c.srv.o.Gate.Admit(ctx, op, w)
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

// A sqlWitness is the witness of one statement, or of the session.
type sqlWitness struct {
	*statements
	tell  func(postgres.Held)
	form  *sqlForm // nil: it is about the session
	apart string   // see [postgres.Statement]
	id    string   // of the operation
}

// Decided writes the decision down: into the recording before anything of the statement is sent, and into the
// ledger with others, unless somebody will look for it there.
func (w *sqlWitness) Decided(op Operation, d policies.Decision) error {
	s := w.session
	w.id = op.ID
	if s.recording == nil || w.form == nil || d.Effect != policies.EffectAllow {
		w.late.flush(w.statements, true)
		return s.Decided(op, d)
	}
	s.opMu.Lock()
	s.sequence++
	sequence := s.sequence
	s.opMu.Unlock()
	now, policy, text := time.Now(), firstRef(d).ID, w.masked(op.Text)
	note := operationNote{ID: op.ID, Action: op.Action, Text: text, Decision: effectOf(d), Policy: policy, Like: w.form.noted}
	if note.Like == "" {
		note.Facts, note.Why = w.form.withText(text), d.Why
	}
	if err := s.recorded(s.recording.Later(func(l replay.Lines) error { return l.Note("op", note) })); err != nil {
		return err
	}
	if w.form.noted == "" {
		w.form.noted = op.ID
	}
	row := &lateRow{form: w.form, text: text, apart: w.apart, folds: true, Operation: ledger.Operation{
		ID: op.ID, SessionID: s.id, Sequence: sequence, Offset: now.Sub(s.started), Time: now, Action: op.Action,
		Decision: note.Decision, Policy: policy,
	}}
	if text != op.Text { // something is masked
		row.apart, row.folds = strings.CutPrefix(text, w.form.text)
	}
	w.late.add(w.statements, row)
	return nil
}

// An operationNote is a statement in the recording. Its facts are those of the one it is like, but for the text.
type operationNote struct {
	Action   string         `json:"action"`
	Decision string         `json:"decision"`
	Facts    map[string]any `json:"facts,omitempty"`
	ID       string         `json:"id"`
	Like     string         `json:"like,omitempty"`
	Policy   string         `json:"policy"`
	Text     string         `json:"text"`
	Why      string         `json:"why,omitempty"`
}

// withText are the masked facts of one statement.
func (f *sqlForm) withText(text string) map[string]any {
	facts := maps.Clone(f.masked)
	facts["text"] = text
	return facts
}

// masked is maskText for the goroutine that admits.
func (g *statements) masked(text string) string {
	if g.texts == nil {
		g.texts = g.c.srv.o.Masks.Stream(mask.StreamOptions{Style: g.maskStyle()})
	}
	return string(g.texts.Whole(make([]byte, 0, len(text)), []byte(text)))
}

// Close stores what waits.
func (g *statements) Close() { g.late.flush(g, true) }

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
	w.mu.Lock()
	if w.let == nil {
		w.let = map[string]string{}
	}
	w.let[op.ID] = by
	w.mu.Unlock()
	w.tell(postgres.Held{Message: by})
	if op.Action == "session:open" || op.Action == "unmask" {
		w.endWithGrant(op, h)
	}
	return nil
}

// A resultNote is how a statement ended, in the recording.
type resultNote struct {
	Op     string  `json:"op"`
	Tag    string  `json:"tag"`
	Code   string  `json:"code"`
	Rows   int64   `json:"rows"`
	Bytes  int64   `json:"bytes"`
	Masked int64   `json:"masked"`
	MS     float64 `json:"ms"`
}

// Done notes how a statement ended.
func (g *statements) Done(r postgres.Result) error {
	outcome := r.Tag
	if r.Code != "" {
		outcome = "error " + r.Code
	}
	g.mu.Lock()
	if by, ok := g.let[r.ID]; ok {
		outcome = by + ": " + outcome
		delete(g.let, r.ID)
	}
	g.mu.Unlock()
	if r.Masked > 0 {
		g.recording.Masked(int(r.Masked))
	}
	note := resultNote{Op: r.ID, Tag: r.Tag, Code: r.Code, Rows: r.Rows, Bytes: r.Bytes, Masked: r.Masked, MS: float64(r.Duration.Microseconds()) / 1000}
	if err := g.recorded(g.recording.Later(func(l replay.Lines) error { return l.Note("result", note) })); err != nil {
		return err
	}
	return g.late.done(g, r.ID, outcome)
}

// Show puts what a player shows into the recording; psql's sessions show themselves.
func (g *statements) Show(text []byte) error {
	if !g.own || len(text) == 0 || g.recording == nil {
		return nil
	}
	return g.recorded(g.recording.Later(func(l replay.Lines) error { return l.Output(replay.Stdout, text) }))
}

// Commit writes what was noted and shown.
func (g *statements) Commit() error {
	if g.recording == nil {
		return nil
	}
	return g.recorded(g.recording.Commit())
}
