package postgres

import (
	"time"

	"github.com/sallyport-ssh/sallyport/filters/sql"
)

// What the server owes an answer for.
type owed byte

const (
	owedParse owed = iota
	owedBind
	owedStatement // Describe of a statement
	owedPortal    // Describe of a portal
	owedExecute
	owedClose
	owedSync
	owedQuery
	owedData    // rows for COPY: no answer of their own
	owedCopyEnd // CopyDone or CopyFail: no answer of its own
)

// An expected answer. The queue of them is in the order of what was sent; the server answers in that order.
type expected struct {
	kind    owed
	group   int64     // which Sync it comes before
	refusal []byte    // it was sent to fail: the client gets this ErrorResponse
	code    string    // SQLSTATE in refusal
	hidden  bool      // the gate sent it for itself
	own     bool      // and a statement of its own; see access.go
	quiet   bool      // which is no part of a pipeline of the client's
	must    bool      // and has to succeed
	text    string    // of what was refused or tried, for the record
	sync    *expected // of a trial: the Sync behind it
	known   chan bool // of a trial: told whether the server knows the text
	sets    bool      // it may change how statements are cut
	name    string    // of the statement or portal that Parse or Close is about
	isName  byte      // 'S' or 'P', of Close
	stmt    *prepared
	portal  *portal
	ops     []*operation // Query: one for each statement. Execute: one
	at      int          // of ops, the one whose answer comes next
	copying bool         // the server takes data for it
	called  *function    // it is a call by the fastpath protocol
}

// op is what the server works at, or nil when that cannot be told.
func (e *expected) op() *operation {
	if e.at < len(e.ops) {
		return e.ops[e.at]
	}
	return nil
}

// touches tells whether anything of it may touch protected relations.
func (e *expected) touches() bool {
	for _, op := range e.ops {
		if op.touches {
			return true
		}
	}
	return len(e.ops) == 0 && (e.portal == nil || e.portal.op == nil || e.portal.op.touches) && !e.kind.silent()
}

// An operation is a statement that was admitted.
type operation struct {
	id      string
	st      *sql.Statement
	names   *names // the catalog it was decided by; nil when the target has no protected columns
	text    string
	touches bool // it may touch protected relations
	began   time.Time
	rows    int64
	bytes   int64
	masked  int64
	told    bool      // Done was called
	makes   *prepared // by PREPARE; nil: nothing
}

// A prepared statement, of the protocol or of PREPARE.
type prepared struct {
	text    string
	st      *sql.Statement // nil: it was not one statement
	types   []uint32       // of its parameters, as far as they are known
	columns []field        // as a Describe told; nil: not known
	group   int64          // in which it was made
	made    bool           // the server said so
	old     *prepared      // what the name means if this one is not made
}

// A portal is a statement with its values.
type portal struct {
	op      *operation
	stmt    *prepared
	formats []int16 // of results, as Bind has them
	plan    *plan   // of its rows; nil: not described
	group   int64
	old     *portal // what the name means if this one is not made

	described bool // a Describe was sent
}

// maxOwed bounds what a client may pipeline before it reads the answers.
const maxOwed = 100_000

// push adds to what the server owes. It waits while that is too much.
func (s *session) push(all ...*expected) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) > maxOwed && !s.ended {
		s.moved.Wait()
	}
	for _, e := range all {
		if e.sets {
			s.setters++
		}
		if n := len(s.queue); e.kind.silent() && n == 0 || e.kind == owedData && s.queue[n-1].kind == owedData {
			continue // the server takes no data, or it is known already
		}
		s.queue = append(s.queue, e)
	}
}

// silent tells what the server never answers.
func (k owed) silent() bool { return k == owedData || k == owedCopyEnd }

// pop removes the first, with mu held.
func (s *session) pop() {
	e := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	for len(s.queue) > 0 && s.queue[0].kind.silent() {
		s.queue = s.queue[1:]
	}
	if len(s.queue) == 0 {
		s.queue = nil // gives the array back
	}
	if e.sets {
		// What it changed was reported before it was answered in full.
		s.setters--
	}
	s.moved.Broadcast()
}

// settle waits until the server owes nothing, so that what it said is known. It reports false when that
// cannot be waited for: because the client is to send data first.
func (s *session) settle() bool {
	if s.f.send() != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) > 0 && !s.ended {
		if s.queue[0].copying && !s.copyEnds() {
			return false
		}
		s.moved.Wait()
	}
	return !s.ended
}

// copyEnds tells whether the client has sent all data that it has, with mu held.
func (s *session) copyEnds() bool {
	for _, e := range s.queue {
		if e.kind == owedCopyEnd {
			return true
		}
	}
	return false
}
