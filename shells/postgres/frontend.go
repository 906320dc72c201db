package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/sql"
	"github.com/sallyport-ssh/sallyport/filters/sql/child"
)

// frontend is what the goroutine that reads the client has for itself.
type frontend struct {
	s       *session
	in      *frames
	buf     []byte      // admitted, and not sent
	batch   []byte      // of a pipeline: decided on, and not yet let go
	owes    []*expected // of batch
	group   int64       // counts Syncs and Queries
	setting bool        // the group may change how statements are cut
	skip    bool        // a part of the pipeline was refused: nothing more of it until Sync
	crashes int         // of the parser, by this session
	touched bool        // something before may have touched protected relations
	seen    map[*sql.Statement]*understood
	said    bool // the guard was told what Commit has to make last
}

// maxBatch is how much of a pipeline is kept back until its Sync. What is longer is sent in parts.
const maxBatch = 64 << 20

// maxCrashes is how many statements of one session may cost a parser.
const maxCrashes = 3

// fromClient relays until the client ends the session, or cannot be understood.
func (s *session) fromClient() error {
	f := &s.f
	f.s, f.in, f.group = s, newFrames(s.in, s.t.c.MaxMessage), 1
	for {
		if !f.in.ready() {
			if err := f.send(); err != nil {
				return err
			}
		}
		m, err := f.in.next()
		if errors.Is(err, errProtocol) {
			s.complain(err)
			return err
		}
		if err == io.EOF {
			return errClientEnded
		}
		if err != nil {
			return fmt.Errorf("read the client: %w", err)
		}
		if m[0] == 'X' {
			return errClientEnded
		}
		if err := f.message(m); err != nil {
			if errors.Is(err, errProtocol) {
				s.complain(err)
			}
			return err
		}
	}
}

// complain tells a client that breaks the protocol, as far as it still listens.
func (s *session) complain(err error) {
	_ = s.out.write(errorReport("FATAL", "08P01", err.Error(), ""))
}

// send writes what was admitted.
func (f *frontend) send() error {
	if len(f.buf) == 0 {
		return nil
	}
	if f.said {
		if err := f.s.guard.Commit(); err != nil {
			return err
		}
		f.said = false
	}
	_, err := f.s.server.Write(f.buf)
	f.buf = f.buf[:0]
	if cap(f.buf) > largeBuffer {
		f.buf = nil
	}
	if err != nil {
		return fmt.Errorf("write to the server: %w", err)
	}
	return nil
}

// message takes one message of the client's.
func (f *frontend) message(m []byte) error {
	b := &body{p: m[header:]}
	if f.skip && m[0] != 'S' {
		return nil // as the server does after an error
	}
	switch m[0] {
	case 'Q':
		return f.query(m, b.text(), b.bad || len(b.p) > 0)
	case 'P':
		return f.parse(m, b)
	case 'B':
		return f.bind(m, b)
	case 'D':
		return f.describe(m, b)
	case 'E':
		return f.execute(m, b)
	case 'C':
		return f.close(m, b)
	case 'H':
		f.batch = append(f.batch, m...)
		f.letGo()
		return nil
	case 'S':
		f.unwrap()
		f.batch = append(f.batch, m...)
		f.owes = append(f.owes, &expected{kind: owedSync, group: f.group, sets: f.setting})
		f.setting = false
		f.letGo()
		f.synced()
		f.skip = false
		f.group++
		return nil
	case 'd':
		return f.data(m)
	case 'c', 'f':
		f.letGo()
		f.s.push(&expected{kind: owedCopyEnd, group: f.group})
		f.buf = append(f.buf, m...)
		return f.send()
	case 'F':
		return f.call(m, b)
	}
	return fmt.Errorf("%w: a message of type %q", errProtocol, m[0])
}

// letGo moves the batch to what is sent.
func (f *frontend) letGo() {
	f.begin()
	f.s.push(f.owes...)
	f.owes = nil
	f.buf = append(f.buf, f.batch...)
	f.batch = f.batch[:0]
	if cap(f.batch) > largeBuffer {
		f.batch = nil
	}
}

// add puts one message into the batch.
func (f *frontend) add(m []byte, e *expected) error {
	e.group = f.group
	if len(f.batch)+len(m) > maxBatch {
		f.letGo()
		if err := f.send(); err != nil {
			return err
		}
	}
	f.batch = append(f.batch, m...)
	f.owes = append(f.owes, e)
	return nil
}

// data passes on rows of COPY ... FROM STDIN. Where the server takes none it ignores them.
func (f *frontend) data(m []byte) error {
	f.letGo()
	f.s.push(&expected{kind: owedData, group: f.group})
	f.buf = append(f.buf, m...)
	if len(f.buf) >= largeBuffer {
		return f.send()
	}
	return nil
}

// refusedText is what is sent in the place of a statement that is refused: it cannot be parsed, so it fails
// before anything else, in every state that a transaction can be in.
const refusedText = "sallyport refused a statement"

// refuse replaces a simple query.
func (f *frontend) refuse(text string, r *Refusal) {
	e := &expected{kind: owedQuery, group: f.group, text: text, refusal: errorReport("ERROR", r.code(), r.Message, r.Hint), code: r.code()}
	f.group++
	f.s.push(e)
	f.buf = message(f.buf, 'Q', func(b []byte) []byte { return appendText(b, refusedText) })
}

// refuseBatch replaces what there is of a pipeline: nothing of it was sent since the last Flush.
func (f *frontend) refuseBatch(r *Refusal) {
	f.batch, f.owes = f.batch[:0], nil
	f.s.mode.wrapped, f.s.mode.unsure = false, true
	f.s.push(&expected{kind: owedParse, group: f.group, refusal: errorReport("ERROR", r.code(), r.Message, r.Hint), code: r.code(), name: "\x00"})
	f.buf = message(f.buf, 'P', func(b []byte) []byte { return append(appendText(appendText(b, ""), refusedText), 0, 0) })
	f.skip = true
}

// query is a simple query: any number of statements, decided on before the first is sent.
func (f *frontend) query(m []byte, text string, broken bool) error {
	if broken {
		return fmt.Errorf("%w: invalid string in message", errProtocol)
	}
	f.letGo()
	r, err := f.read(text)
	if err == nil && r.Refused {
		var known bool
		if known, err = f.probe(text); err == nil && !known {
			return nil
		}
	}
	var ops []*operation
	if err == nil {
		ops, err = f.decide(text, r.Statements)
	}
	after := ""
	if err == nil {
		var u unit
		for _, op := range ops {
			u.add(op.st)
		}
		after, err = f.before(u)
	}
	var refusal *Refusal
	if errors.As(err, &refusal) {
		f.refuse(text, refusal)
		return nil
	}
	if err != nil {
		return err
	}
	e := &expected{kind: owedQuery, group: f.group, ops: ops, sets: f.sets(ops)}
	f.group++
	for _, op := range ops {
		f.remember(op, e.group)
	}
	f.s.push(e)
	f.buf = append(f.buf, m...)
	if after != "" {
		f.own(after, false)
	}
	return nil
}

// probe asks the server whether it knows a text that the grammar here does not, and reports false when it
// does not either: then the client has its error, and nobody need be asked about a typo. The server is asked
// by Parse, which looks names up and runs nothing.
func (f *frontend) probe(text string) (known bool, err error) {
	if !f.s.settle() {
		return true, nil
	}
	opaque := sql.Opaque(text, "was never run")
	p := &prepared{text: text, st: &opaque, group: f.group}
	f.s.define("", p) // simple queries end the unnamed statement, as this does
	sync := &expected{kind: owedSync, group: f.group}
	parse := &expected{kind: owedParse, group: f.group, stmt: p, hidden: true, text: text, sync: sync, known: make(chan bool, 1)}
	f.group++
	f.s.push(parse, sync)
	f.buf = message(f.buf, 'P', func(b []byte) []byte { return append(appendText(appendText(b, ""), text), 0, 0) })
	f.buf = append(f.buf, 'S', 0, 0, 0, 4)
	if err := f.send(); err != nil {
		return false, err
	}
	select {
	case known = <-parse.known:
		return known, nil
	case <-f.s.ctx.Done():
		return false, context.Cause(f.s.ctx)
	}
}

// decide puts every statement of text before the guard.
func (f *frontend) decide(text string, statements []sql.Statement) ([]*operation, error) {
	ops := make([]*operation, 0, len(statements))
	for i := range statements {
		st := &statements[i]
		op, err := f.admit(st, strings.TrimSpace(text[st.Start:st.End]), nil)
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	return ops, nil
}

// read finds out what text would do. Where the answer depends on what the server has not yet said, it waits.
func (f *frontend) read(text string) (*child.Reading, error) {
	s := f.s
	s.mu.Lock()
	cut, doubt := s.cutting(), s.setters > 0 || f.setting
	s.mu.Unlock()
	if doubt && sql.Check(text, cut) != "" && len(f.batch) == 0 && s.settle() {
		s.mu.Lock()
		cut = s.cutting()
		s.mu.Unlock()
	}
	r, err := s.t.c.Parser.Read(s.ctx, text, cut)
	if err != nil {
		return nil, err
	}
	if r.Died {
		if f.crashes++; f.crashes >= maxCrashes {
			return nil, errCrasher
		}
	}
	return r, nil
}

// errCrasher ends a session that keeps crashing the parser.
var errCrasher = publicError("statements of this session keep crashing the parser")

type publicError string

func (e publicError) Error() string      { return string(e) }
func (e publicError) PublicText() string { return string(e) }

// sets tells whether any of ops may change how later statements are cut.
func (f *frontend) sets(ops []*operation) bool {
	s := f.s
	any := false
	for _, op := range ops {
		direct, ends := setsCutting(op.st)
		if direct {
			s.mu.Lock()
			s.asServer = false
			s.mu.Unlock()
			any = true
		}
		any = any || ends && !s.untouched()
	}
	return any
}

func (s *session) untouched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asServer
}

// setsCutting tells whether st may change what cuts statements: itself, or by undoing what was set before.
func setsCutting(st *sql.Statement) (direct, ends bool) {
	if st.Opaque || len(st.Unknown) > 0 {
		return true, false
	}
	if st.Transaction != "" {
		return false, st.Transaction != "begin" && st.Transaction != "savepoint"
	}
	for _, name := range st.Settings {
		switch name {
		case "*", "standard_conforming_strings", "client_encoding", "names", "backslash_quote":
			direct = true
		}
	}
	return direct, false
}

// understood is all that decides on a statement but the values that are bound to it.
type understood struct {
	st      *sql.Statement
	names   *names // that it was understood by
	touches bool   // it may touch protected relations
	facts   map[string]any
	form    *Form
}

// maxSeen bounds how many statements of a session are kept understood.
const maxSeen = 256

// understand finds out what st may do. What was understood before is, by the same catalog, understood.
func (f *frontend) understand(st *sql.Statement, text string) (*understood, error) {
	s := f.s
	n, err := s.catalog.names(s.ctx)
	if err != nil {
		return nil, fmt.Errorf("decide on a statement: %w", err)
	}
	key := st
	if st.Like != nil {
		key = st.Like
	}
	if u := f.seen[key]; u != nil && u.names == n {
		return u, nil
	}
	resolved, text := f.resolve(st, text)
	m := n.explain(resolved, s.guarded)
	facts := resolved.Context(text)
	delete(facts, "text")
	facts["relations"] = union(facts["relations"].([]string), m.relations)
	facts["opaque"], facts["database"], facts["login"] = len(m.opaque) > 0, s.db, s.login
	facts["why"] = union(resolved.Why, m.opaque)
	if len(m.infers) > 0 {
		facts["infers"] = m.infers
	}
	u := &understood{st: resolved, names: n, touches: m.protected, facts: facts, form: &Form{Text: text}}
	if resolved != st {
		return u, nil // what a name means may change
	}
	if f.seen == nil || len(f.seen) >= maxSeen {
		f.seen = map[*sql.Statement]*understood{}
	}
	f.seen[key] = u
	return u, nil
}

// admit puts one statement before the guard. Values are those bound to it.
func (f *frontend) admit(st *sql.Statement, text string, values []string) (*operation, error) {
	s := f.s
	u, err := f.understand(st, text)
	if err != nil {
		return nil, err
	}
	if u.st.Verb == "EXECUTE" || st.Verb == "EXECUTE" {
		text = u.form.Text // with what it executes
	}
	apart := withValues(st.Numbers, values)
	op := &operation{st: u.st, names: u.names, text: withValues(text, values)}
	op.touches = u.touches || s.guarded && f.touched && (u.st.Verb == "FETCH" || u.st.Verb == "MOVE")
	f.touched = f.touched || op.touches
	op.id, err = f.ask(Statement{Action: u.st.Action, Text: op.text, Facts: u.facts, Form: u.form, Apart: apart})
	if err != nil {
		return nil, err
	}
	f.said = true
	op.began = time.Now()
	return op, nil
}

// withValues writes bound values below a statement.
func withValues(text string, values []string) string {
	if len(values) == 0 {
		return text
	}
	b := append(make([]byte, 0, len(text)+32*len(values)), text...)
	for i, v := range values {
		b = append(b, "\n-- $"...)
		b = strconv.AppendInt(b, int64(i+1), 10)
		b = append(append(b, " = "...), v...)
	}
	return string(b)
}

// ask asks the guard. While a human is asked, the client may cancel or leave.
func (f *frontend) ask(st Statement) (id string, err error) {
	s := f.s
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	var watching sync.WaitGroup
	done := make(chan struct{})
	first := true
	id, err = s.guard.Admit(ctx, st, func(h Held) {
		if first {
			first = false
			s.hold(cancel)
			if sent := f.send(); sent != nil { // what was admitted before does not wait with it
				cancel(sent)
			}
			watching.Go(func() { s.in.watch(done, cancel) })
		}
		s.tell(h)
	})
	close(done)
	watching.Wait()
	if !first {
		s.hold(nil)
	}
	if err != nil && errors.Is(context.Cause(ctx), errCanceled) {
		return "", &Refusal{Code: "57014", Message: "canceling statement due to user request"}
	}
	if err != nil && errors.Is(context.Cause(ctx), errGone) {
		return "", errClientEnded
	}
	return id, err
}

func (s *session) hold(cancel context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = cancel
}

func union(a, b []string) []string {
	out := append([]string{}, a...)
	for _, v := range b {
		if !contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

func contains(list []string, v string) bool {
	for _, e := range list {
		if e == v {
			return true
		}
	}
	return false
}
