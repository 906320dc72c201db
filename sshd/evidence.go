package sshd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/filters/mask"
	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/shells"
)

// evidence is what a session leaves behind: its recording, and its rows in the ledger.
type evidence struct {
	recording *replay.Recording // nil until the session was let in, or held
	lost      atomic.Bool       // the recording failed, and the gate is configured to go on

	recordsInput bool // policy asked for a record of what is typed when it let the session in

	requestsSeen  int         // while the session runs; with mu held, as the next
	requestsEarly []requested // that the recording has not yet

	opMu     sync.Mutex
	sequence int64
}

// ledgerTimeout bounds one write to the ledger. A ledger that does not answer refuses the operation.
const ledgerTimeout = 10 * time.Second

// begin starts the session's recording and its row in the ledger.
func (s *session) begin() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), ledgerTimeout)
	defer cancel()
	t, a := s.route.target, &s.asked
	row := ledger.Session{
		ID: s.id, ConnectionID: s.c.id, Gate: s.c.srv.o.Gate.name, Identity: ledgerIdentity(s.c.identity),
		Target: t.Name, TargetKind: t.Kind, Login: s.route.login, Kind: string(a.kind), Command: show(s.maskText(a.command)),
		ClientAddr: s.c.source.String(), Guard: s.guard(), Started: s.started,
	}
	meta := replay.Meta{
		SessionID: s.id, ConnectionID: s.c.id, Gate: s.c.srv.o.Gate.name, Identity: castIdentity(s.c.identity),
		Target: t.Name, TargetKind: t.Kind, Login: s.route.login, Kind: string(a.kind), Command: s.maskText(a.command),
		Env: envMap(a.env), Guard: s.guard(), Started: s.started, ClientAddr: s.c.source.String(),
	}
	if err := s.makeEssential(&meta); err != nil {
		return err
	}
	if s.c.identity.OnBehalfOf != nil {
		behalf := ledgerIdentity(*s.c.identity.OnBehalfOf)
		row.OnBehalfOf = &behalf
	}
	if a.pty != nil {
		row.Term, row.Cols, row.Rows = a.pty.Term, a.pty.Cols, a.pty.Rows
		meta.Pty, meta.Term, meta.Cols, meta.Rows = true, a.pty.Term, a.pty.Cols, a.pty.Rows
	}
	if err := s.c.srv.o.Ledger.StartSession(ctx, row); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	recording, err := s.c.srv.o.Archive.Start(ctx, meta)
	if err != nil {
		ended := s.c.srv.o.Ledger.EndSession(ctx, s.id, ledger.End{Ended: time.Now(), State: ledger.Truncated, Reason: "it could not be recorded"})
		return errors.Join(fmt.Errorf("recording: %w", err), ended)
	}
	s.mu.Lock()
	s.recording = recording
	s.requestsEarly = append(s.asked.seen, s.requestsEarly...)
	s.asked.seen = nil
	s.mu.Unlock()
	return s.recorded(s.noteEarlyRequests())
}

// makeEssential lets those in who could make room, when others are refused for want of it, and has that
// written down. Agents are not among them, whoever they act for.
func (s *session) makeEssential(meta *replay.Meta) error {
	o := &s.c.srv.o
	if s.c.identity.Kind != "human" || !slices.ContainsFunc(s.c.identity.Groups, func(g string) bool { return slices.Contains(o.EssentialGroups, g) }) {
		return nil
	}
	meta.Essential = true
	if !o.Archive.Refusing() {
		return nil
	}
	return store(o.Ledger, ledger.Event{
		Kind: "session.essential", Gate: o.Gate.name, Actor: s.c.principal.Key, ActorName: s.c.principal.String(),
		Source: s.c.source.String(), SessionID: s.id, Target: s.route.target.Name,
		Detail: map[string]any{"why": "let in although the spool of recordings has no room for others"},
	})
}

// seal ends the recording, and by that the ledger's row. Err is why the session ended, where the process
// itself did not.
func (s *session) seal(exit shells.Exit, err error) {
	if s.recording == nil {
		return
	}
	end := replay.End{Reason: "exit", Signal: exit.Signal}
	if exit.Signal == "" {
		end.Status = &exit.Status
	}
	if err != nil {
		end.Reason = publicText(err)
		s.c.log.Info("session ended", "session", s.id, "reason", show(err.Error()))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), ledgerTimeout)
	defer cancel()
	if _, err := s.recording.End(ctx, end); err != nil {
		s.c.log.Error("recording could not be sealed", "session", s.id, "error", err)
	}
}

// Decided writes an operation and its decision down before anything of it happens.
func (s *session) Decided(op Operation, d policies.Decision) error {
	s.asking(op.ID)
	// A session that was never let in has no recording, and too many refusals are only counted.
	if d.Effect == policies.EffectDeny && (!s.c.srv.o.Gate.denied(op.Principal.Key) || s.recording == nil) {
		return s.c.auditDenied(op, d)
	}
	if op.Action == "session:open" && d.RecordInput {
		s.recordsInput = true
		op.Facts = maps.Clone(op.Facts)
		op.Facts["input"] = "recorded"
	}
	if s.recording == nil {
		if err := s.begin(); err != nil {
			return err
		}
	}
	s.opMu.Lock()
	defer s.opMu.Unlock()
	s.sequence++
	now := time.Now()
	text := s.maskText(op.Text)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), ledgerTimeout)
	defer cancel()
	if err := s.c.srv.o.Ledger.AddOperation(ctx, ledger.Operation{
		ID: op.ID, SessionID: s.id, Sequence: s.sequence, Offset: now.Sub(s.started), Time: now, Action: op.Action,
		Text: show(text), Facts: s.maskFacts(op.Facts), Decision: effectOf(d), Policy: firstRef(d).ID, HoldID: op.HoldID,
	}); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return s.recorded(s.noteOperation(op, text, d))
}

// noteOperation puts the operation into the recording: a comment with all that is known, and a marker to
// jump to.
func (s *session) noteOperation(op Operation, text string, d policies.Decision) error {
	err := s.recording.Note("op", map[string]any{
		"id": op.ID, "action": op.Action, "text": text, "facts": s.maskFacts(op.Facts),
		"decision": effectOf(d), "policy": firstRef(d).ID, "why": d.Why,
	})
	if err != nil {
		return err
	}
	label := op.Action
	if text != "" {
		label += " " + show(text)
	}
	if d.Effect != policies.EffectAllow {
		label = effectOf(d) + ": " + label
	}
	return s.recording.Marker(shortLabel(label))
}

// maxLabel keeps a marker short enough for a timeline; the comment beside it has all of the text.
const maxLabel = 200

func shortLabel(s string) string {
	if len(s) <= maxLabel {
		return s
	}
	return strings.ToValidUTF8(s[:maxLabel], "") + "…"
}

// Held tells the one who waits, and the record, that a human has been asked.
func (s *session) Held(op Operation, h policies.Hold) {
	s.c.log.Info("held", "session", s.id, "hold", h.ID, "action", op.Action, "policy", h.Policy.ID)
	if err := s.recorded(s.recording.Note("hold", map[string]any{
		"id": h.ID, "op": op.ID, "state": h.State, "approvers": h.Terms.Approvers, "expires": h.Expires.UTC(), "policy": h.Policy,
	})); err != nil {
		s.cancel(err)
		return
	}
	s.sayHeld(op, h)
	s.listen()
}

// Answered writes down how a hold ended, and says so.
func (s *session) Answered(op Operation, h policies.Hold, refused error) error {
	if err := s.noteAnswer(op, h, refused); err != nil || refused != nil {
		return err
	}
	s.sayApproved(h)
	s.endWithGrant(op, h)
	return nil
}

// noteAnswer writes down how a hold ended.
func (s *session) noteAnswer(op Operation, h policies.Hold, refused error) error {
	outcome := "approved"
	note := map[string]any{"id": h.ID, "op": op.ID, "state": h.State}
	if len(h.Answers) > 0 {
		last := h.Answers[len(h.Answers)-1]
		note["by"], note["via"], note["reason"] = last.Approver.String(), last.Via, last.Reason
		note["answers"] = len(h.Answers)
		outcome += " by " + approvedBy(h)
	}
	if refused != nil {
		outcome = publicText(refused)
		note["refused"] = outcome
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), ledgerTimeout)
	defer cancel()
	if err := s.c.srv.o.Ledger.SetOutcome(ctx, op.ID, outcome); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if err := s.recorded(s.recording.Note("hold", note)); err != nil {
		return err
	}
	return s.recorded(s.recording.Marker(shortLabel("hold " + h.ID + ": " + outcome)))
}

// recordOutput puts masked bytes into the recording; only then may they be shown.
func (s *session) recordOutput(kind replay.Stream, p []byte) error {
	if len(p) == 0 || s.recording == nil {
		return nil
	}
	s.keepTail(kind, p)
	return s.recorded(s.recording.Output(kind, p))
}

func (s *session) recordSize(cols, rows uint32) error {
	if s.recording == nil {
		return nil
	}
	return s.recorded(s.recording.Resize(cols, rows))
}

// recorded decides what a failing recording means: the end of the session, unless the gate is
// configured to go on. The alarm is the archive's.
func (s *session) recorded(err error) error {
	if err == nil {
		return nil
	}
	if s.c.srv.o.Degrade {
		if !s.lost.Swap(true) {
			s.c.log.Error("session goes on unrecorded", "session", s.id, "error", err)
		}
		return nil
	}
	return &recordError{err}
}

// A recordError ends a session that cannot be recorded any more.
type recordError struct{ err error }

func (e *recordError) Error() string { return "recording: " + e.err.Error() }
func (e *recordError) Unwrap() error { return e.err }
func (e *recordError) PublicText() string {
	return "this session can no longer be recorded, so it ends"
}

// countMasked is told of every masked value, with the output's lock held.
func (s *session) countMasked(mask.Hit) {
	if s.recording != nil {
		s.recording.Masked(1)
		s.c.srv.o.Meter.Masked()
	}
}

// noteRepaint says in the record that n values on the screen, which no stream could see, are masked by what follows.
// They were counted when they were found.
func (s *session) noteRepaint(found mask.Hits, n int) error {
	if s.recording == nil {
		return nil
	}
	if err := s.recorded(s.recording.Note("mask", map[string]any{"repainted": n, "detectors": found})); err != nil {
		return err
	}
	now := time.Now()
	if now.Sub(s.out.marked) < markerEvery {
		return nil
	}
	s.out.marked = now
	return s.recorded(s.recording.Marker(fmt.Sprintf("masked on the screen: %s", strings.Join(slices.Sorted(maps.Keys(found)), ", "))))
}

// markerEvery keeps a program that draws the same screen again and again from filling the timeline.
const markerEvery = 10 * time.Second

// maskText masks what a client sent before it is written down anywhere but in a hold, whose approver
// must see the exact bytes.
func (s *session) maskText(text string) string {
	if text == "" {
		return ""
	}
	st := s.c.srv.o.Masks.Stream(mask.StreamOptions{Style: s.maskStyle()})
	return string(st.Close(st.Append(nil, []byte(text))))
}

// maskFacts masks every text in facts.
func (s *session) maskFacts(facts map[string]any) map[string]any {
	out := make(map[string]any, len(facts))
	for k, v := range facts {
		switch v := v.(type) {
		case string:
			out[k] = s.maskText(v)
		case []string:
			list := make([]string, len(v))
			for i := range v {
				list[i] = s.maskText(v[i])
			}
			out[k] = list
		default:
			out[k] = v
		}
	}
	return out
}

func envMap(env []string) map[string]string {
	m := make(map[string]string, len(env))
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		m[name] = value
	}
	return m
}

func ledgerIdentity(id certs.Identity) ledger.Identity {
	return ledger.Identity{Issuer: id.Issuer, Subject: id.Subject, Name: id.Name, Email: id.Email, Kind: id.Kind, Groups: id.Groups}
}

func castIdentity(id certs.Identity) replay.Identity {
	out := replay.Identity{Issuer: id.Issuer, Subject: id.Subject, Name: id.Name, Email: id.Email, Kind: id.Kind, Groups: id.Groups}
	if id.OnBehalfOf != nil {
		behalf := castIdentity(*id.OnBehalfOf)
		out.OnBehalfOf = &behalf
	}
	return out
}
