package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// A Seal is one link of the chain that all sealed recordings of this ledger form.
type Seal struct {
	SessionID string
	Hash      []byte // the recording's final seal, 32 bytes
	State     State  // complete, recovered, truncated; or purged, with the Hash of what was removed
	At        time.Time

	// Set by the ledger.
	N        int64  // 1, 2, 3, ... without a gap
	Previous []byte // Link of N-1; zeros for the first
	Link     []byte
}

// link computes what chains s to the seal before it: SHA-256 over, each preceded by its length in 8
// bytes big endian, "sallyport seal 1", Previous, SessionID, Hash, State; then the time in microseconds
// since 1970, in 8 bytes big endian.
func (s Seal) link() []byte {
	h := sha256.New()
	for _, part := range [][]byte{[]byte("sallyport seal 1"), s.Previous, []byte(s.SessionID), s.Hash, []byte(s.State)} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(micros(s.At))))
	return h.Sum(nil)
}

// hash is a SHA-256.
func (c *check) hash(field string, b []byte) []byte {
	if len(b) != sha256.Size && c.err == nil {
		c.err = fmt.Errorf("%s of %d bytes, not %d: %w", field, len(b), sha256.Size, ErrInvalid)
	}
	return b
}

// AppendSeal adds a sealed recording to the chain and returns its link. Appending the same seal again
// returns the link it has; another hash for the same session and state is ErrEnded. The session need
// not be in the ledger: a recording can outlive it.
func (l *Ledger) AppendSeal(ctx context.Context, s Seal) (Seal, error) {
	err := l.atomically(ctx, func(t tx) (err error) {
		s, err = t.appendSeal(ctx, s)
		return err
	})
	if err != nil {
		return Seal{}, wrap("append seal", err)
	}
	return s, nil
}

func (t tx) appendSeal(ctx context.Context, s Seal) (Seal, error) {
	var c check
	c.need("session id", s.SessionID)
	c.hash("seal", s.Hash)
	oneOf(&c, "state", s.State, Complete, Recovered, Truncated, Purged)
	if c.err != nil {
		return Seal{}, c.err
	}
	s.At = fromMicros(micros(s.At))
	// The head is the lock: one append at a time, over all gates.
	err := t.row(ctx, t.forUpdate("SELECT n, hash FROM seal_head WHERE one = 1"), nil, &s.N, &s.Previous)
	if err != nil {
		return Seal{}, fmt.Errorf("head of the chain: %w", err)
	}
	if old, err := t.sealed(ctx, s); err == nil || !errors.Is(err, ErrNotFound) {
		return old, err
	}
	s.N++
	s.Link = s.link()
	if _, err := t.exec(ctx, `INSERT INTO seals (n, session_id, seal_hash, state, at, previous, hash)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`, s.N, s.SessionID, s.Hash, string(s.State), micros(s.At), s.Previous, s.Link); err != nil {
		return Seal{}, err
	}
	if err := found(t.exec(ctx, "UPDATE seal_head SET n = $1, hash = $2 WHERE one = 1", s.N, s.Link)); err != nil {
		return Seal{}, fmt.Errorf("head of the chain: %w", err)
	}
	return s, nil
}

const sealColumns = "n, session_id, seal_hash, state, at, previous, hash"

// sealed returns the seal that s repeats, ErrEnded if it contradicts one, ErrNotFound if it is new.
func (t tx) sealed(ctx context.Context, s Seal) (Seal, error) {
	old, err := scanSeal(func(dest ...any) error {
		return t.row(ctx, "SELECT "+sealColumns+" FROM seals WHERE session_id = $1 AND state = $2",
			[]any{s.SessionID, string(s.State)}, dest...)
	})
	if err == nil && !bytes.Equal(old.Hash, s.Hash) {
		return Seal{}, fmt.Errorf("session %s is sealed as %s with another hash: %w", s.SessionID, s.State, ErrEnded)
	}
	return old, err
}

func scanSeal(scan func(...any) error) (s Seal, err error) {
	var at int64
	err = scan(&s.N, &s.SessionID, &s.Hash, &s.State, &at, &s.Previous, &s.Link)
	s.At = fromMicros(at)
	return s, err
}

// Seals returns the seals numbered above after in the order of the chain, at most MaxLimit of them.
func (l *Ledger) Seals(ctx context.Context, after int64) ([]Seal, error) {
	all, err := l.seals(ctx, after)
	return all, wrap("seals", err)
}

func (l *Ledger) seals(ctx context.Context, after int64) ([]Seal, error) {
	return l.sealsWhere(ctx, "n > $1 ORDER BY n LIMIT "+strconv.Itoa(MaxLimit), after)
}

func (l *Ledger) sealsWhere(ctx context.Context, where string, args ...any) ([]Seal, error) {
	rows, err := l.query(ctx, "SELECT "+sealColumns+" FROM seals WHERE "+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Seal
	for rows.Next() {
		s, err := scanSeal(rows.Scan)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, named(rows.Err())
}

// SealsOf returns the seals of one session, which is none before its recording is sealed.
func (l *Ledger) SealsOf(ctx context.Context, sessionID string) ([]Seal, error) {
	all, err := l.sealsWhere(ctx, "session_id = $1 ORDER BY n", sessionID)
	return all, wrap("seals", err)
}

// A Head is how far the chain of seals went at some time. Kept somewhere else (a log, a printout, an
// object store with retention), it proves later that nothing up to it was changed: the chain itself is
// not signed, so whoever can write all of the ledger can write a new one.
type Head struct {
	N    int64
	Link []byte
}

// SealHead returns the head of the chain.
func (l *Ledger) SealHead(ctx context.Context) (Head, error) {
	var h Head
	err := l.row(ctx, "SELECT n, hash FROM seal_head WHERE one = 1", nil, &h.N, &h.Link)
	return h, wrap("head of the seals", err)
}

// MaxProblems bounds the problems that one verification lists.
const MaxProblems = 100

// SealReport is what VerifySeals found. The chain is whole when Problems is empty.
type SealReport struct {
	Checked  int64 // seals looked at
	Head     Head  // of the chain as it is
	Problems []SealProblem
	More     bool // there are more problems than MaxProblems
}

// A SealProblem is one place where the chain, or what a session says of its seal, is broken.
type SealProblem struct {
	N         int64 // number in the chain; 0: a session without a seal
	SessionID string
	What      string
}

func (r *SealReport) add(n int64, session, format string, args ...any) {
	if len(r.Problems) == MaxProblems {
		r.More = true
		return
	}
	r.Problems = append(r.Problems, SealProblem{n, session, fmt.Sprintf(format, args...)})
}

// VerifySeals walks the whole chain and finds every row that was removed, inserted, edited or moved,
// and every session whose seal is not in the chain as the session has it. Heads that were kept elsewhere
// also uncover a chain that was made anew from some row on. An error means that the chain could not be
// read to its end, not that it is broken.
func (l *Ledger) VerifySeals(ctx context.Context, kept ...Head) (SealReport, error) {
	var r SealReport
	head, err := l.SealHead(ctx)
	if errors.Is(err, ErrNotFound) {
		r.add(0, "", "the head of the chain is missing")
	} else if err != nil {
		return SealReport{}, err
	}
	w := walk{report: &r, kept: kept, last: Seal{Link: make([]byte, sha256.Size)}}
	for {
		page, err := l.Seals(ctx, w.last.N)
		if err != nil {
			return SealReport{}, err
		}
		if len(page) == 0 {
			break
		}
		for _, s := range page {
			w.step(s)
		}
	}
	w.end(head)
	if err := l.unsealed(ctx, &r); err != nil {
		return SealReport{}, wrap("verify seals", err)
	}
	return r, nil
}

// walk goes along the chain.
type walk struct {
	report *SealReport
	kept   []Head
	last   Seal
}

func (w *walk) step(s Seal) {
	w.report.Checked++
	switch {
	case s.N != w.last.N+1:
		w.report.add(s.N, s.SessionID, "seals %d to %d are missing", w.last.N+1, s.N-1)
	case !bytes.Equal(s.Previous, w.last.Link):
		w.report.add(s.N, s.SessionID, "does not follow seal %d: one of the two was changed or moved", w.last.N)
	}
	if !bytes.Equal(s.Link, s.link()) {
		w.report.add(s.N, s.SessionID, "was edited: its link is not that of its fields")
	}
	for _, h := range w.kept {
		if h.N == s.N && !bytes.Equal(h.Link, s.Link) {
			w.report.add(s.N, s.SessionID, "is not what the kept head says: the chain was made anew")
		}
	}
	w.last = s
}

// end looks at what lies beyond the last row. Seals that were appended after head was read are no
// problem.
func (w *walk) end(head Head) {
	w.report.Head = Head{w.last.N, w.last.Link}
	if head.N > w.last.N {
		w.report.add(head.N, "", "seals %d to %d are missing at the end", w.last.N+1, head.N)
	}
	if head.N == w.last.N && head.Link != nil && !bytes.Equal(head.Link, w.last.Link) {
		w.report.add(head.N, "", "the head does not fit the last seal")
	}
	for _, h := range w.kept {
		if h.N > w.last.N {
			w.report.add(h.N, "", "a kept head says there were %d seals, now there are %d", h.N, w.last.N)
		}
	}
}

// unsealed finds sessions whose own seal is not the chain's.
func (l *Ledger) unsealed(ctx context.Context, r *SealReport) error {
	rows, err := l.query(ctx, `SELECT id FROM sessions WHERE seal_hash IS NOT NULL AND NOT EXISTS (SELECT 1 FROM seals
		WHERE seals.session_id = sessions.id AND seals.seal_hash = sessions.seal_hash) ORDER BY started LIMIT `+strconv.Itoa(MaxProblems+1))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		r.add(0, id, "the session's seal is not in the chain")
	}
	return named(rows.Err())
}
