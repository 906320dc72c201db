package postgres

import (
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/sallyport-ssh/sallyport/filters/sql"
)

// A session is read-only, by the server's own account, but for what says that it writes and was admitted. Outside
// of transaction blocks default_transaction_read_only does it, which is set before a statement when it is not
// yet what that statement needs: so the gate adds nothing to reads that follow reads, or writes that follow
// writes. A block is begun as one that may write, because the server takes that back never and gives it only
// before the first query; until a write in it was admitted everything else runs in a savepoint of its own that is
// read-only. What the gate sends for this is never shown to the client.

// access is what a statement needs.
type access byte

const (
	accessNone  access = iota // it runs nobody's code
	accessRead                // it may run anybody's
	accessWrite               // it says that it writes
)

// accessOf goes by what a statement says. A SELECT of a function that nobody knows is a read: whoever wants it
// to write begins a transaction with READ WRITE, which is decided on.
func accessOf(st *sql.Statement) access {
	writes := st.Is("write") || st.Is("destructive") || st.Is("interpreter") || st.Locks
	switch st.Action {
	case "sql:select", "sql:cursor", "sql:explain", "sql:copy":
		switch {
		case writes:
			return accessWrite
		case st.Verb == "CLOSE":
			return accessNone
		}
		return accessRead
	case "sql:call":
		if st.Verb == "FASTPATH" && !writes {
			return accessRead
		}
		return accessWrite
	case "sql:session", "sql:transaction", "sql:show", "sql:prepare", "sql:notify":
		switch {
		case writes:
			return accessWrite
		case st.Verb == "EXECUTE": // of something that is not known
			return accessRead
		}
		return accessNone
	}
	return accessWrite
}

// A unit is what the server runs as one: a simple query, or a pipeline until its Sync.
type unit struct {
	n             int
	reads, writes bool
	shows         bool // or sets the mode of transactions, which must be what it would be without this gate
	begins        bool // its first statement begins a block
	readOnly      bool // with READ ONLY
	controls      int  // statements that begin, end or mark transactions
	ends, endsNow bool // it ends a block; by its last statement
	commits       bool
	lowers        bool // it is SET TRANSACTION READ ONLY, and nothing else
	parted        bool // it read before it ended one
	again         bool // and reads after that
	holds, marks  bool // it declares a cursor WITH HOLD, makes a savepoint
}

// add takes one more statement of the unit.
func (u *unit) add(st *sql.Statement) {
	a, control, end := accessOf(st), st.Action == "sql:transaction", isEnd(st)
	if u.n == 0 && st.Transaction == "begin" {
		u.begins, u.readOnly = true, st.Mode == "read only"
	}
	u.n++
	u.lowers = u.n == 1 && lowers(st)
	u.again = u.again || u.parted && a == accessRead
	u.reads, u.writes = u.reads || a == accessRead, u.writes || a == accessWrite
	u.ends, u.endsNow, u.commits = u.ends || end, end, u.commits || end && st.Transaction != "rollback"
	u.parted = u.parted || end && u.reads
	u.holds, u.marks = u.holds || st.Hold, u.marks || st.Transaction == "savepoint"
	if control {
		u.controls++
	}
	u.shows = u.shows || modeSetting(st.Name) && st.Verb == "SHOW"
	for _, name := range st.Settings {
		u.shows = u.shows || modeSetting(name) || name == "*" && a == accessNone && !control
	}
}

// lowers tells whether st makes a transaction read-only that has begun.
func lowers(st *sql.Statement) bool { return st.Mode == "read only" && st.Action == "sql:session" }

// modeSetting knows the settings that say whether transactions may write.
func modeSetting(name string) bool {
	return name == "transaction_read_only" || name == "default_transaction_read_only" || name == "session_characteristics"
}

// isEnd tells whether a transaction statement ends the block.
func isEnd(st *sql.Statement) bool {
	switch st.Transaction {
	case "commit", "rollback", "prepare", "commit prepared", "rollback prepared":
		return true
	}
	return false
}

// A txn is a transaction block of the client's.
type txn struct {
	raised   bool // a write in it was admitted
	readOnly bool // the server refuses writes in it, from its beginning
	holds    bool // a cursor was declared in it that is run when it ends
	marked   bool // it has, or had, savepoints
}

// note takes what a unit does in it.
func (b *txn) note(u unit) {
	b.raised, b.holds, b.marked = b.raised || u.writes, b.holds || u.holds, b.marked || u.marks
	// In a savepoint it would be taken back with that.
	b.readOnly = b.readOnly || u.lowers && !b.marked
}

// guarded tells whether the gate keeps it read-only.
func (b *txn) guarded() bool { return !b.raised && !b.readOnly }

// A mode is what the gate knows of what the server lets the session do. It belongs to the frontend, but for
// what the session's lock guards.
type mode struct {
	on      bool
	name    string // of savepoints, statements and portals of the gate's own
	block   *txn   // nil: none is open
	next    *txn   // the one that is open if it turns out that one is
	unsure  bool   // whether one is open is what the server says
	wrapped bool   // a read-only savepoint is open, in the pipeline that is being made
	ended   bool   // the pipeline that is being made ended a block
	unit    unit   // that pipeline
	begun   bool   // a part of it was sent

	// Guarded by the session's lock.
	state    byte // of ReadyForQuery
	lowered  bool // default_transaction_read_only is on
	reported bool // the server reports that setting
	wish     bool // it is on because the client wants it
}

func newMode(on bool) mode {
	return mode{on: on, name: "sallyport " + strings.ToLower(rand.Text()[:12]), state: 'I'}
}

// settled makes sure of the state of transactions, where that is not known.
func (f *frontend) settled() error {
	m := &f.s.mode
	if !m.unsure {
		return nil
	}
	if !f.s.settle() {
		if f.s.ctx.Err() != nil {
			return f.s.ctx.Err()
		}
		return fmt.Errorf("%w: a statement while the server takes data", errProtocol)
	}
	f.s.mu.Lock()
	state := m.state
	f.s.mu.Unlock()
	switch {
	case state == 'I':
		m.block = nil
	case m.next != nil:
		m.block = m.next
	case m.block == nil:
		m.block = &txn{}
	}
	m.next, m.unsure = nil, false
	return nil
}

// errMixed refuses what cannot be kept read-only as one message.
var errMixed = &Refusal{
	Code: "0A000", Message: "statements that read and ones that control transactions cannot be run as one message here",
	Hint: "Send them one by one; or BEGIN READ WRITE before.",
}

// before sends what has to stand before a simple query, and returns what has to follow it.
func (f *frontend) before(u unit) (after string, err error) {
	m := &f.s.mode
	if !m.on {
		return "", nil
	}
	if err := f.settled(); err != nil {
		return "", err
	}
	if m.begun || m.unit.n > 0 {
		return "", fmt.Errorf("%w: a simple query in the middle of a pipeline", errProtocol)
	}
	b := m.block
	if b == nil {
		if u.again && !u.writes {
			return "", errMixed
		}
		f.outside(u, true, f.own)
		f.after(u)
		return "", nil
	}
	b.note(u)
	switch {
	case !b.guarded():
	case u.commits && b.holds && b.marked, u.reads && u.controls > 0 && !(u.controls == 1 && u.endsNow):
		return "", errMixed
	case u.ends && (u.commits && b.holds || u.reads):
		f.own("SET TRANSACTION READ ONLY", false) // also for what a cursor WITH HOLD runs when the block ends
	case u.reads:
		f.own("SAVEPOINT "+m.quoted()+"; SET TRANSACTION READ ONLY", false)
		after = "RELEASE SAVEPOINT " + m.quoted()
	}
	f.after(u)
	return after, nil
}

func (m *mode) quoted() string { return `"` + m.name + `"` }

// outside sets what begins outside of a block. In a pipeline reads in a block are kept read-only one by one.
func (f *frontend) outside(u unit, simple bool, send func(text string, must bool)) {
	s := f.s
	m := &s.mode
	raise := u.writes || u.shows && !u.reads || u.begins && !u.readOnly && !(simple && u.reads)
	if !raise && !u.reads && !u.begins {
		return
	}
	s.mu.Lock()
	lowered, wish := m.lowered, m.wish
	// What ran before may have changed the setting by itself, which is known when it has ended.
	sure := m.reported && len(s.queue) == 0
	if !wish {
		m.lowered = !raise
	}
	s.mu.Unlock()
	switch {
	case wish:
	case raise && (lowered || !sure):
		send("SET default_transaction_read_only = off", false)
	case !raise && (!lowered || !sure):
		send("SET default_transaction_read_only = on", true)
	}
}

// after notes what a simple query may have made of the state of transactions.
func (f *frontend) after(u unit) {
	m := &f.s.mode
	if u.controls == 0 {
		return
	}
	m.unsure = true
	switch {
	case m.block == nil:
		m.next = &txn{readOnly: u.readOnly || u.reads && !u.writes}
		m.next.note(u)
	case u.ends:
		m.next = &txn{}
	}
}

// own sends a simple query of the gate's, of which the client sees nothing. If it must be done and fails, the
// session ends.
func (f *frontend) own(text string, must bool) {
	f.s.push(&expected{kind: owedQuery, group: f.group, hidden: true, own: true, must: must})
	f.buf = message(f.buf, 'Q', func(b []byte) []byte { return appendText(b, text) })
}

// appendOwn makes a statement of the gate's for a pipeline: Parse, Bind, Execute, and Close of both, by a name that no
// client uses, because the unnamed ones are the client's.
func (f *frontend) appendOwn(buf []byte, owes []*expected, text string) ([]byte, []*expected) {
	name := f.s.mode.name
	buf = message(buf, 'P', func(b []byte) []byte { return append(appendText(appendText(b, name), text), 0, 0) })
	buf = message(buf, 'B', func(b []byte) []byte { return append(appendText(appendText(b, name), name), 0, 0, 0, 0, 0, 0) })
	buf = message(buf, 'E', func(b []byte) []byte { return append(appendText(b, name), 0, 0, 0, 0) })
	buf = message(buf, 'C', func(b []byte) []byte { return appendText(append(b, 'P'), name) })
	buf = message(buf, 'C', func(b []byte) []byte { return appendText(append(b, 'S'), name) })
	for _, k := range []owed{owedParse, owedBind, owedExecute, owedClose, owedClose} {
		owes = append(owes, &expected{kind: k, group: f.group, hidden: true, own: true})
	}
	return buf, owes
}

// inside adds a statement of the gate's to the pipeline that is being made. Should it fail, the rest of the pipeline
// is skipped, and the client gets the error: in a failed block it is the one that the client's own would have had.
func (f *frontend) inside(text string) {
	f.batch, f.owes = f.appendOwn(f.batch, f.owes, text)
}

// piped takes a statement that is about to be bound, or run again, in a pipeline.
func (f *frontend) piped(st *sql.Statement) error {
	m := &f.s.mode
	if !m.on {
		return nil
	}
	if m.unit.n == 0 && !m.begun {
		if err := f.settled(); err != nil {
			return err
		}
	}
	m.unit.add(st)
	if m.block == nil {
		f.pipedOutside(st)
		return nil
	}
	b, a, end := m.block, accessOf(st), isEnd(st)
	b.holds, b.marked = b.holds || st.Hold, b.marked || st.Transaction == "savepoint"
	b.readOnly = b.readOnly || lowers(st) && !b.marked && !m.wrapped
	switch {
	case !b.guarded():
	case a == accessWrite:
		f.unwrap()
		b.raised = true
	case a == accessRead && !m.wrapped:
		f.inside("SAVEPOINT " + m.quoted())
		f.inside("SET TRANSACTION READ ONLY")
		m.wrapped = true
	case end && st.Transaction != "rollback" && b.holds && b.marked:
		return errMixed
	case st.Action == "sql:transaction":
		f.unwrap()
		if end && b.holds && st.Transaction != "rollback" {
			f.inside("SET TRANSACTION READ ONLY")
		}
	}
	if end {
		m.block, m.next, m.ended = nil, nil, true
	}
	m.unsure = m.unsure || st.Action == "sql:transaction"
	return nil
}

// pipedOutside is piped where no block is open.
func (f *frontend) pipedOutside(st *sql.Statement) {
	m := &f.s.mode
	switch {
	case st.Transaction == "begin":
		// Its mode is that of what came before, if anything did: then it stays so.
		first := m.unit.n == 1 || m.ended
		m.block = &txn{raised: m.unit.writes, readOnly: st.Mode == "read only" || !first && !m.unit.writes}
		m.unsure, m.next = true, m.block
	case m.ended && accessOf(st) == accessRead && !m.unit.writes:
		f.inside("SET transaction_read_only = on") // of the implicit transaction that begins here
	case st.Action == "sql:transaction":
		m.unsure = true
	}
}

// unwrap ends the read-only savepoint of the pipeline.
func (f *frontend) unwrap() {
	if m := &f.s.mode; m.wrapped {
		m.wrapped = false
		f.inside("RELEASE SAVEPOINT " + m.quoted())
	}
}

// begin sends what has to stand before a pipeline, when its first part is let go.
func (f *frontend) begin() {
	m := &f.s.mode
	if !m.on || m.begun || m.unit.n == 0 {
		return
	}
	m.begun = true
	if m.block != nil && !m.unit.begins {
		return
	}
	f.outside(m.unit, false, func(text string, must bool) {
		var owes []*expected
		f.buf, owes = f.appendOwn(f.buf, nil, text)
		f.buf = append(f.buf, 'S', 0, 0, 0, 4)
		owes = append(owes, &expected{kind: owedSync, group: f.group, hidden: true, own: true})
		for _, e := range owes {
			e.must, e.quiet = must, true
		}
		f.s.push(owes...)
	})
}

// synced is the end of a pipeline.
func (f *frontend) synced() {
	m := &f.s.mode
	m.unit, m.begun, m.ended, m.wrapped = unit{}, false, false, false
}

// errNotLowered ends a session that could not be made read-only again: by a cancel request that came late, say.
var errNotLowered = publicError("the session could not be made read-only again")

// quiet takes what the server answers to something of the gate's own, with the session's lock held.
func (b *backend) quiet(m []byte, e *expected) error {
	s := b.s
	switch m[0] {
	case 'E':
		return b.ownFailed(m, e)
	case 'Z':
		if len(m) != header+1 {
			return errUnasked
		}
		s.mode.state = m[header]
	case 'C':
		if e.kind == owedQuery {
			return nil
		}
	case '1', '2', '3':
	default:
		return errUnasked
	}
	s.pop()
	return nil
}

// ownFailed takes the error of something of the gate's own. In a pipeline of the client's it is the client's error;
// else the client's own statement meets with the same, or with none.
func (b *backend) ownFailed(m []byte, e *expected) error {
	s := b.s
	switch {
	case e.must:
		return errNotLowered
	case e.kind == owedQuery:
		return nil
	case !e.quiet:
		return b.failed(m, e)
	}
	for len(s.queue) > 0 && s.queue[0].kind != owedSync {
		s.pop()
	}
	return nil
}

// modeReported takes what the server says of default_transaction_read_only, and tells whether the client is to
// know, with the lock held.
func (s *session) modeReported(value string) bool {
	m := &s.mode
	if !m.on {
		return true
	}
	on := value == "on"
	if len(s.queue) > 0 && s.queue[0].own {
		return false
	}
	m.lowered, m.wish = on, on
	return true
}
