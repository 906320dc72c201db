package postgres

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sallyport-ssh/sallyport/filters/sql"
)

// parse is a Parse message. Nothing is decided here: the server only looks names up, and a statement is
// decided on each time that values are bound to it.
func (f *frontend) parse(m []byte, b *body) error {
	name, text := b.text(), b.text()
	p := &prepared{text: text, group: f.group}
	for range b.int16() {
		p.types = append(p.types, b.oid())
		if b.bad {
			break
		}
	}
	if b.bad {
		return fmt.Errorf("%w: a Parse that is too short", errProtocol)
	}
	r, err := f.read(text)
	if err != nil {
		return err
	}
	all := r.Statements
	if len(all) == 1 {
		p.st = &all[0]
	} else if len(all) > 1 {
		opaque := sql.Opaque(text, "is more than one statement")
		p.st = &opaque
	}
	if !f.s.room(name, len(text)) {
		f.refuseBatch(&Refusal{Code: "53400", Message: "too many prepared statements for one session", Hint: "Close those that are not used any more."})
		return nil
	}
	f.s.define(name, p)
	return f.add(m, &expected{kind: owedParse, name: name, stmt: p})
}

// Bounds of what a session may keep prepared, whose texts the gate keeps with it.
const (
	maxPrepared      = 10_000
	maxPreparedBytes = 96 << 20
)

// room tells whether one more statement of that size can be kept.
func (s *session) room(name string, size int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == "" {
		return true
	}
	if len(s.prepared) >= maxPrepared {
		return false
	}
	if size < 1<<16 && len(s.prepared) < 1000 {
		return true // far from both
	}
	for _, p := range s.prepared {
		size += len(p.text)
	}
	return size <= maxPreparedBytes
}

// define makes p what name means, until the server refuses it.
func (s *session) define(name string, p *prepared) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.old = s.prepared[name]
	s.prepared[name] = p
}

// statement returns what name means in the group that is being sent; nil when it is not known.
func (f *frontend) statement(name string) *prepared {
	s := f.s
	look := func() (*prepared, bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		p := s.prepared[name]
		return p, p == nil || p.made || p.group == f.group
	}
	p, sure := look()
	if !sure {
		if len(f.batch) > 0 || !s.settle() {
			return nil
		}
		if p, sure = look(); !sure {
			return nil
		}
	}
	return p
}

// bind decides on a statement with its values.
func (f *frontend) bind(m []byte, b *body) error {
	name, from := b.text(), b.text()
	formats := b.formats()
	var values [][]byte
	for range b.int16() {
		values = append(values, b.value())
		if b.bad {
			break
		}
	}
	po := &portal{formats: b.formats(), group: f.group}
	if b.bad {
		return fmt.Errorf("%w: a Bind that is too short", errProtocol)
	}
	st := &sql.Statement{Action: "sql:other", Classes: []string{}}
	text := ""
	if po.stmt = f.statement(from); po.stmt == nil {
		opaque := sql.Opaque("", fmt.Sprintf("binds the prepared statement %q, of which nothing is known", from))
		st = &opaque
	} else {
		st, text = po.stmt.st, strings.TrimSpace(po.stmt.text)
	}
	if st != nil { // nil: an empty text, which does nothing
		var err error
		po.op, err = f.admit(st, text, shown(values, formats, po.types()))
		if err == nil {
			err = f.piped(po.op.st)
		}
		var refusal *Refusal
		if errors.As(err, &refusal) {
			f.refuseBatch(refusal)
			return nil
		}
		if err != nil {
			return err
		}
		f.remember(po.op, f.group)
	}
	f.s.mu.Lock()
	if po.old = f.s.portals[name]; po.old != nil {
		po.old.old = nil
	}
	f.s.portals[name] = po
	f.s.mu.Unlock()
	e := &expected{kind: owedBind, name: name, portal: po}
	if po.op != nil {
		f.setting = f.sets([]*operation{po.op}) || f.setting
	}
	return f.add(m, e)
}

func (p *portal) types() []uint32 {
	if p.stmt == nil {
		return nil
	}
	return p.stmt.types
}

// formats is a list of format codes.
func (b *body) formats() []int16 {
	var out []int16
	for range b.int16() {
		out = append(out, int16(b.int16()))
		if b.bad {
			break
		}
	}
	return out
}

func (f *frontend) describe(m []byte, b *body) error {
	what, name := b.byte(), b.text()
	if b.bad || what != 'S' && what != 'P' {
		return fmt.Errorf("%w: a Describe that cannot be read", errProtocol)
	}
	if what == 'S' {
		return f.add(m, &expected{kind: owedStatement, stmt: f.statement(name)})
	}
	po := f.portal(name)
	po.described = true
	return f.add(m, &expected{kind: owedPortal, portal: po})
}

// portal returns what name means. One that nobody bound may be a cursor: DECLARE was decided on.
func (f *frontend) portal(name string) *portal {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if p := f.s.portals[name]; p != nil {
		return p
	}
	return &portal{group: f.group}
}

// execute runs a portal. Its columns must be known before its rows come.
func (f *frontend) execute(m []byte, b *body) error {
	name := b.text()
	b.int32()
	if b.bad {
		return fmt.Errorf("%w: an Execute that is too short", errProtocol)
	}
	po := f.portal(name)
	if po.op == nil && po.stmt == nil {
		st := &sql.Statement{Action: "sql:cursor", Verb: "FETCH", Classes: []string{"read"}, Name: name}
		op, err := f.admit(st, fmt.Sprintf("-- execute portal %q", name), nil)
		if err == nil {
			err = f.piped(st)
		}
		var refusal *Refusal
		if errors.As(err, &refusal) {
			f.refuseBatch(refusal)
			return nil
		}
		if err != nil {
			return err
		}
		po.op = op
	} else if po.op != nil && po.group != f.group {
		var refusal *Refusal
		if err := f.piped(po.op.st); errors.As(err, &refusal) {
			f.refuseBatch(refusal)
			return nil
		} else if err != nil {
			return err
		}
	}
	if f.mustDescribe(po) {
		d := message(nil, 'D', func(b []byte) []byte { return appendText(append(b, 'P'), name) })
		if err := f.add(d, &expected{kind: owedPortal, portal: po, hidden: true}); err != nil {
			return err
		}
		po.described = true
	}
	e := &expected{kind: owedExecute, portal: po}
	if po.op != nil {
		e.ops = []*operation{po.op}
	}
	return f.add(m, e)
}

// mustDescribe tells whether the gate has to ask for a portal's columns. What a Describe of the statement
// told is enough for their types, but not for where they come from: the server may plan anew, and find
// other relations by the same names.
func (f *frontend) mustDescribe(po *portal) bool {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if po.described {
		return false
	}
	return po.op != nil && po.op.touches || po.stmt == nil || po.stmt.columns == nil && po.stmt.st != nil
}

func (f *frontend) close(m []byte, b *body) error {
	what, name := b.byte(), b.text()
	if b.bad || what != 'S' && what != 'P' {
		return fmt.Errorf("%w: a Close that cannot be read", errProtocol)
	}
	return f.add(m, &expected{kind: owedClose, name: name, isName: what})
}

// remember notes what a statement makes that later ones use by name.
func (f *frontend) remember(op *operation, group int64) {
	if op.st.Verb == "PREPARE" && op.st.Inner != nil && op.st.Name != "" {
		op.makes = &prepared{text: op.text, st: op.st.Inner, group: group}
		if !f.s.room(op.st.Name, len(op.text)) {
			opaque := sql.Opaque("", "is one of too many prepared statements")
			op.makes = &prepared{st: &opaque, group: group}
		}
		f.s.define(op.st.Name, op.makes)
	}
}

// resolve turns EXECUTE name into what it will run.
func (f *frontend) resolve(st *sql.Statement, text string) (*sql.Statement, string) {
	if st.Verb == "EXPLAIN ANALYZE EXECUTE" || st.Inner != nil && st.Inner.Verb == "EXECUTE" {
		out := *st
		out.Obscure("explains, or declares, a prepared statement")
		return &out, text
	}
	if st.Verb != "EXECUTE" {
		return st, text
	}
	p := f.statement(st.Name)
	if p == nil || p.st == nil {
		out := *st
		out.Obscure(fmt.Sprintf("executes the prepared statement %q, of which nothing is known", st.Name))
		return &out, text
	}
	out := *p.st
	out.Functions = union(out.Functions, st.Functions)
	out.Operators = union(out.Operators, st.Operators)
	out.Unknown = union(out.Unknown, st.Unknown)
	out.Reads = union(out.Reads, st.Reads)
	out.Classes = union(out.Classes, st.Classes)
	out.Settings = union(out.Settings, st.Settings)
	out.Why = union(out.Why, st.Why)
	out.Opaque = out.Opaque || st.Opaque
	return &out, text + "\n-- " + st.Name + ": " + p.text
}

// complete notes what the server said it did, with mu held.
func (s *session) complete(op *operation) {
	if op == nil {
		return
	}
	if op.makes != nil {
		op.makes.made, op.makes.old = true, nil
	}
	switch {
	case op.st.Verb == "DEALLOCATE" && op.st.Name != "":
		s.undefine(op.st.Name)
	case op.st.Verb == "DEALLOCATE", op.st.Transaction == "discard":
		for name := range s.prepared {
			s.undefine(name)
		}
	}
}

// undefine forgets a statement that is gone, with mu held. One that is not yet made stays.
func (s *session) undefine(name string) {
	p := s.prepared[name]
	if p != nil && p.made {
		delete(s.prepared, name)
		return
	}
	for ; p != nil; p = p.old {
		if p.old != nil && p.old.made {
			p.old = nil
		}
	}
}

// fail takes back what a statement would have made, with mu held.
func (s *session) fail(name string, p *prepared) {
	if p == nil || p.made {
		return
	}
	at := s.prepared[name]
	if at == p {
		if s.prepared[name] = p.old; p.old == nil {
			delete(s.prepared, name)
		}
		return
	}
	for ; at != nil; at = at.old { // a later one of the same name is still to be answered
		if at.old == p {
			at.old = p.old
		}
	}
}

// failAll takes back what the rest of an expected answer would have made, with mu held.
func (s *session) failAll(e *expected) {
	if e.own {
		return
	}
	switch e.kind {
	case owedParse:
		s.fail(e.name, e.stmt)
	case owedBind:
		if s.portals[e.name] == e.portal {
			if delete(s.portals, e.name); e.portal.old != nil {
				s.portals[e.name] = e.portal.old
			}
		}
		if op := e.portal.op; op != nil && op.makes != nil {
			s.fail(op.st.Name, op.makes)
		}
	case owedQuery, owedExecute:
		for _, op := range e.ops[min(e.at, len(e.ops)):] {
			if op.makes != nil {
				s.fail(op.st.Name, op.makes)
			}
		}
	}
}
