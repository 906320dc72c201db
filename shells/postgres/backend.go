package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// backend is what the goroutine that reads the server has for itself.
type backend struct {
	s        *session
	in       *frames
	out      []byte // masked, and not yet shown
	greeting []byte // ParameterStatus messages of the login

	values  masker
	plan    *plan // of the rows that come now
	copying *copyOut
	shown   transcript
}

// maxServerMessage is the longest message of a server: a field has at most 1 GB.
const maxServerMessage = 1<<30 + 1<<20

// errServerLeft is a server that ended the connection.
var errServerLeft = publicError("the database ended the session")

// fromServer relays until the server ends the session, or answers what nobody asked.
func (s *session) fromServer() error {
	b := &s.b
	b.s, b.in = s, newFrames(s.server, maxServerMessage)
	b.values.init(s.t.c.Masks, s.t.c.TokenKey)
	b.shown.k, b.shown.limit = &b.values, s.t.c.ShownRows
	for {
		if !b.in.ready() {
			if err := b.show(); err != nil {
				return err
			}
		}
		m, err := b.in.next()
		if err != nil {
			if shown := b.show(); shown != nil {
				return shown
			}
			if err == io.EOF {
				return errServerLeft
			}
			return fmt.Errorf("read the server: %w", err)
		}
		if err := b.message(m); err != nil {
			return fmt.Errorf("message %q of the server: %w", m[0], err)
		}
		if len(b.out) >= 4*largeBuffer {
			if err := b.show(); err != nil {
				return err
			}
		}
	}
}

// show records what a player shows, and then lets the client see what is ready.
func (b *backend) show() error {
	if err := b.shown.flush(b.s.guard); err != nil {
		return err
	}
	if len(b.out) == 0 {
		return nil
	}
	if err := b.s.guard.Commit(); err != nil {
		return err
	}
	err := b.s.out.write(b.out)
	b.out = b.out[:0]
	if cap(b.out) > 8*largeBuffer {
		b.out = nil
	}
	if err != nil {
		return errGone
	}
	return nil
}

// errUnasked is an answer that fits nothing that was asked: the two sides are out of step, and nobody could
// say what the values in it are.
var errUnasked = errors.New("it answers nothing that was asked")

// message takes one message of the server's.
func (b *backend) message(m []byte) error {
	switch m[0] {
	case 'S', 'N', 'A': // at any time
		return b.anytime(m)
	case 'D':
		return b.rows(b.in.more(m))
	case 'd':
		return b.copied(b.in.more(m))
	}
	s := b.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		if m[0] == 'E' { // the server ends the session: shutdown, timeout, terminated
			b.out = b.values.report(b.out, m, false, s.clear)
			return nil
		}
		return errUnasked
	}
	return b.answer(m, s.queue[0])
}

// answer takes a message that answers e, with the session's lock held.
func (b *backend) answer(m []byte, e *expected) error {
	if e.own {
		return b.quiet(m, e)
	}
	if e.refusal != nil && m[0] != 'E' && m[0] != 'Z' {
		return errUnasked // what was sent to fail did not
	}
	switch m[0] {
	case '1', '2', '3', 's', 't', 'T', 'n':
		return b.extended(m, e)
	case 'C', 'I':
		return b.completed(m, e)
	case 'V':
		if e.called == nil || e.kind != owedQuery {
			return errUnasked
		}
		return b.returned(m, e)
	case 'E':
		return b.failed(m, e)
	case 'Z':
		return b.ready(m, e)
	case 'G', 'H':
		return b.copyBegins(m, e)
	case 'c': // CopyDone
		b.copying = nil
		b.out = append(b.out, m...)
		return nil
	}
	return errUnasked
}

// extended takes the answers of the extended protocol, and descriptions of rows.
func (b *backend) extended(m []byte, e *expected) error {
	s := b.s
	done := true
	switch {
	case m[0] == '1' && e.kind == owedParse:
		e.stmt.made, e.stmt.old = true, nil
		if e.known != nil {
			e.sync.hidden = true
			e.known <- true
		}
	case m[0] == '2' && e.kind == owedBind:
		e.portal.old = nil
	case m[0] == '3' && e.kind == owedClose:
		if e.isName == 'S' {
			s.undefine(e.name)
		} else {
			delete(s.portals, e.name)
		}
	case m[0] == 's' && e.kind == owedExecute: // PortalSuspended
		b.rowsEnd(e.op(), "")
	case m[0] == 't' && e.kind == owedStatement:
		b.parameters(m, e)
		done = false
	case (m[0] == 'T' || m[0] == 'n') && e.kind == owedStatement:
		if e.stmt != nil {
			e.stmt.columns = fields(m)
		}
	case (m[0] == 'T' || m[0] == 'n') && e.kind == owedPortal:
		e.portal.plan = b.values.planFor(fields(m), nil, e.portal.op, s.guarded)
	case m[0] == 'T' && e.kind == owedQuery:
		b.plan = b.values.planFor(fields(m), nil, e.op(), s.guarded)
		b.shown.begin(e.op(), b.plan)
		done = false
	default:
		return errUnasked
	}
	if !e.hidden {
		b.out = append(b.out, m...)
	}
	if done {
		s.pop()
		b.plan = nil
	}
	return nil
}

// parameters notes the types that the server settled on for what Bind will give.
func (b *backend) parameters(m []byte, e *expected) {
	if e.stmt == nil {
		return
	}
	d := &body{p: m[header:]}
	types := make([]uint32, 0, 8)
	for range d.int16() {
		types = append(types, d.oid())
	}
	if !d.bad {
		e.stmt.types = types
	}
}

// completed takes the end of a statement.
func (b *backend) completed(m []byte, e *expected) error {
	if e.kind != owedQuery && e.kind != owedExecute {
		return errUnasked
	}
	op := e.op()
	tag := ""
	if m[0] == 'C' {
		tag = (&body{p: m[header:]}).text()
	}
	b.s.complete(op)
	if op != nil && op.st.Is("write") && strings.HasPrefix(op.st.Action, "sql:") && isDDL(op.st.Action) {
		b.s.catalog.stale()
	}
	b.rowsEnd(op, tag)
	b.out = append(b.out, m...)
	err := b.done(op, tag, "")
	b.plan = nil
	b.s.endCopy(e, false)
	if e.kind == owedQuery {
		if m[0] == 'C' {
			e.at++
		}
		return err
	}
	b.s.pop()
	return err
}

func isDDL(action string) bool {
	switch action {
	case "sql:create", "sql:alter", "sql:drop", "sql:do", "sql:call", "sql:other", "sql:grant":
		return true
	}
	return false
}

// done tells the guard how an operation ended, once.
func (b *backend) done(op *operation, tag, code string) error {
	if op == nil || op.told {
		return nil
	}
	op.told = true
	return b.s.guard.Done(Result{
		ID: op.id, Tag: tag, Code: code, Rows: op.rows + tagRows(tag, op.rows), Bytes: op.bytes, Masked: op.masked, Duration: time.Since(op.began),
	})
}

// tagRows is the count in a tag, as "UPDATE 3", when no rows were counted.
func tagRows(tag string, counted int64) int64 {
	if counted > 0 {
		return 0
	}
	n, err := strconv.ParseInt(tag[strings.LastIndexByte(tag, ' ')+1:], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// failed takes an error. After one in the extended protocol the server skips everything until Sync.
func (b *backend) failed(m []byte, e *expected) error {
	s := b.s
	op := e.op()
	if op == nil && e.portal != nil {
		op = e.portal.op
	}
	touches := s.guarded && (op == nil || op.touches)
	code := errorCode(m)
	if e.known != nil {
		e.known <- false
	}
	if op == nil && e.text != "" {
		b.shown.statement(&operation{text: e.text})
	}
	if e.refusal != nil {
		b.out = append(b.out, e.refusal...)
		b.shown.failed(op, e.refusal)
	} else {
		at := len(b.out)
		b.out = b.values.report(b.out, m, touches, s.clear)
		b.shown.failed(op, b.out[at:])
	}
	b.plan, b.copying = nil, nil
	s.failAll(e)
	if e.kind == owedQuery {
		s.endCopy(e, true)
		return b.done(op, "", code)
	}
	if e.kind == owedSync { // the error of a commit, or of ending an implicit transaction
		return nil
	}
	err := b.done(op, "", code)
	s.endCopy(e, true)
	for len(s.queue) > 0 && s.queue[0].kind != owedSync {
		s.failAll(s.queue[0])
		s.pop()
	}
	return err
}

// errorCode is the SQLSTATE of an ErrorResponse.
func errorCode(m []byte) string {
	d := &body{p: m[header:]}
	for k := d.byte(); k != 0 && !d.bad; k = d.byte() {
		v := d.text()
		if k == 'C' {
			return v
		}
	}
	return "XX000"
}

// ready takes ReadyForQuery, the answer to a Sync and the end of a simple query.
func (b *backend) ready(m []byte, e *expected) error {
	s := b.s
	if e.kind != owedSync && e.kind != owedQuery || len(m) != header+1 {
		return errUnasked
	}
	if !e.hidden {
		b.out = append(b.out, m...)
	}
	s.mode.state = m[header]
	if m[header] == 'I' { // portals end with their transaction
		for name, p := range s.portals {
			if p.group <= e.group {
				delete(s.portals, name)
			}
		}
	}
	s.pop()
	return nil
}

// copyBegins takes CopyInResponse and CopyOutResponse.
func (b *backend) copyBegins(m []byte, e *expected) error {
	if e.kind != owedQuery && e.kind != owedExecute {
		return errUnasked
	}
	if m[0] == 'G' {
		e.copying = true
		b.s.moved.Broadcast()
	} else {
		if b.copying = b.values.copyFor(m, e.op(), b.s.guarded); b.copying == nil {
			return errUnasked
		}
	}
	b.out = append(b.out, m...)
	return nil
}

// endCopy removes what was sent while the server took data, with the lock held. A Sync among the data is
// ignored by the server, and CopyDone has no answer of its own. When the server gives up before CopyDone, it
// has read what was sent before the data.
func (s *session) endCopy(e *expected, failed bool) {
	if !e.copying {
		return
	}
	e.copying = false
	until := owedCopyEnd
	if failed {
		until = owedData
	}
	for i, q := range s.queue[1:] {
		if q.kind == until {
			s.queue = append(s.queue[:1], s.queue[i+2:]...)
			return
		}
	}
	if failed {
		s.queue = s.queue[:1]
	}
}

// anytime takes what a server may say between any two messages.
func (b *backend) anytime(m []byte) error {
	s := b.s
	d := &body{p: m[header:]}
	switch m[0] {
	case 'S':
		name, value := d.text(), d.text()
		s.mu.Lock()
		s.status(name, value)
		tell := name != "default_transaction_read_only" || s.modeReported(value)
		s.mu.Unlock()
		if !tell {
			return nil
		}
		masked := b.values.text([]byte(value), textOID)
		if name == "application_name" && s.guarded && s.touching() {
			masked = []byte(hidden)
		}
		if bytes.Equal(masked, []byte(value)) || s.clear {
			b.out = append(b.out, m...)
			return nil
		}
		b.out = message(b.out, 'S', func(o []byte) []byte { return appendText(appendText(o, name), string(masked)) })
	case 'N':
		if s.ownRuns() {
			return nil
		}
		at := len(b.out)
		b.out = b.values.report(b.out, m, s.guarded && s.touching(), s.clear)
		b.shown.notice(b.out[at:])
	case 'A':
		pid, channel, payload := d.take(4), d.text(), d.text()
		masked := b.values.text([]byte(payload), textOID)
		if s.clear {
			masked = []byte(payload)
		}
		b.out = message(b.out, 'A', func(o []byte) []byte {
			return appendText(appendText(append(o, pid...), channel), string(masked))
		})
	}
	return nil
}

// ownRuns tells whether the server works at something of the gate's own.
func (s *session) ownRuns() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) > 0 && s.queue[0].own
}

// touching tells whether what the server works at may touch protected relations.
func (s *session) touching() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return false
	}
	return s.queue[0].touches()
}

// rows takes rows that follow each other.
func (b *backend) rows(m []byte) error {
	s := b.s
	s.mu.Lock()
	if len(s.queue) == 0 || s.queue[0].refusal != nil {
		s.mu.Unlock()
		return errUnasked
	}
	e := s.queue[0]
	op := e.op()
	if b.plan == nil {
		if e.kind != owedExecute {
			s.mu.Unlock()
			return errUnasked
		}
		b.plan = b.portalPlan(e.portal)
		b.shown.begin(op, b.plan)
	}
	s.mu.Unlock()
	if op == nil {
		op = &operation{} // counts for nobody
	}
	for len(m) > 0 && (s.clear || !b.plan.fast() || b.shown.wants()) {
		n := 1 + int(binary.BigEndian.Uint32(m[1:]))
		if err := b.row(m[:n], op); err != nil {
			return err
		}
		m = m[n:]
	}
	if len(m) == 0 {
		return nil
	}
	out, n, masked, err := b.values.rowsOf(b.out, m, b.plan)
	if err != nil {
		return err
	}
	b.out = out
	b.shown.count += n
	op.count(n, len(m), masked)
	return nil
}

// row takes one row.
func (b *backend) row(m []byte, op *operation) error {
	row, masked, err := b.values.row(m, b.plan)
	if err != nil {
		return err
	}
	b.shown.row(row)
	if b.s.clear {
		row = m
	}
	b.out = append(b.out, row...)
	op.count(1, len(m), masked)
	return nil
}

// portalPlan is how the rows of a portal are masked, with the lock held.
func (b *backend) portalPlan(po *portal) *plan {
	if po.plan == nil {
		var columns []field
		if po.stmt != nil {
			columns = po.stmt.columns
		}
		po.plan = b.values.planFor(columns, po.formats, po.op, b.s.guarded)
	}
	return po.plan
}

// copied takes rows of COPY ... TO STDOUT that follow each other.
func (b *backend) copied(m []byte) error {
	s := b.s
	s.mu.Lock()
	if len(s.queue) == 0 || b.copying == nil {
		s.mu.Unlock()
		return errUnasked
	}
	shown := s.queue[0].op()
	s.mu.Unlock()
	op := shown
	if op == nil {
		op = &operation{} // counts for nobody
	}
	for len(m) > 0 && (s.clear || b.copying.header || b.copying.binary || b.shown.wantsCopied()) {
		n := 1 + int(binary.BigEndian.Uint32(m[1:]))
		row, masked, err := b.copying.data(m[:n])
		if err != nil {
			return err
		}
		if !b.copying.binary {
			b.shown.copied(shown, row)
		}
		if s.clear {
			row = m[:n]
		}
		b.out = append(b.out, row...)
		op.count(1, n, masked)
		m = m[n:]
	}
	if len(m) > 0 {
		out, n, masked := b.copying.rows(b.out, m)
		b.out = out
		op.count(n, len(m), masked)
	}
	return nil
}

// count adds rows that came.
func (op *operation) count(rows, bytes, masked int) {
	op.rows += int64(rows)
	op.bytes += int64(bytes)
	op.masked += int64(masked)
}

// rowsEnd shows what there was of rows.
func (b *backend) rowsEnd(op *operation, tag string) { b.shown.end(op, tag) }
