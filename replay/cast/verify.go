package cast

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"
)

// VerifyOptions say what a recording is held against.
type VerifyOptions struct {
	Roots   *x509.CertPool // whom to trust; nil: the signatures are checked, not who made them
	Session string         // the session it must be of; "": whichever it says
	Hash    string         // the seal's hash as the ledger has it; "": not known
}

// Report is what [Verify] found.
type Report struct {
	State   State  `json:"state"`
	Why     string `json:"why,omitempty"` // what is wrong, "" when nothing is
	Session string `json:"session,omitempty"`
	Trusted bool   `json:"trusted"` // the keys were certified under the given roots
	Sealed  bool   `json:"sealed"`
	Live    bool   `json:"live,omitempty"` // without a seal, and still in the spool of a gate
	Seal    *Seal  `json:"seal,omitempty"`

	Size        int64  `json:"size"`        // bytes looked at
	Lines       int    `json:"lines"`       // lines looked at
	Counts      Counts `json:"counts"`      // as found, up to the first damage
	Checkpoints uint64 `json:"checkpoints"` // that hold

	SignedUntil  int64 `json:"signed_until"`            // offset up to which every byte is vouched for
	OwnUntil     int64 `json:"own_until"`               // the same, by the session's own key
	BadOffset    int64 `json:"bad_offset,omitempty"`    // first byte that is not vouched for, or is wrong
	BadLine      int   `json:"bad_line,omitempty"`      // its line
	BadUntil     int64 `json:"bad_until,omitempty"`     // the damage begins before this offset
	DroppedBytes int64 `json:"dropped_bytes,omitempty"` // cut off by the gate that recovered it
}

// OK says that nothing is missing or changed. A recording that was recovered is whole.
func (r Report) OK() bool { return r.State == Complete || r.State == Recovered }

// Verify checks a whole recording against its signatures. It needs only public keys, and holds one line at
// a time. An error means that nothing was decided: r could not be read.
func Verify(r io.Reader, o VerifyOptions) (Report, error) {
	c, err := check(r, o)
	if err != nil {
		return Report{}, err
	}
	return c.report(), nil
}

// checker walks a recording line by line, keeping what the chain says apart from what the lines say.
type checker struct {
	o   VerifyOptions
	rd  Reader
	key ed25519.PublicKey // nil before the first checkpoint

	chain  chain
	sum    hash.Hash // of the bytes since the last chain line
	counts Counts    // of the lines read, Masked left out

	signed  mark // behind the last chain line that holds
	own     int64
	good    mark         // behind the last line that is well formed, before any that is not
	problem *FormatError // the first line that is not well formed
	broken  string       // why a chain line does not hold; reading ends there
	badEnd  int64        // end of that chain line
	seal    *Seal
	sealOf  Counts
	cut     bool // the last line has no end
	dropped int64
	masked  uint64 // as the last chain line counts them
}

// mark is a place between two lines and what was known there.
type mark struct {
	off    int64
	line   int // lines before it
	at     int64
	counts Counts
	tails  [3]tail
}

func check(r io.Reader, o VerifyOptions) (*checker, error) {
	c := &checker{o: o, rd: Reader{lines: newLineReader(r)}, sum: sha256.New()}
	for c.broken == "" {
		line, err := c.rd.lines.next()
		var bad *FormatError
		switch {
		case errors.As(err, &bad):
			c.wrong(bad)
			return c, nil
		case err == io.EOF:
			if c.cut = len(line) > 0; c.cut && c.seal != nil {
				c.after()
			}
			return c, nil
		case err != nil:
			return nil, fmt.Errorf("read recording: %w", err)
		}
		c.line(line)
	}
	return c, nil
}

func (c *checker) line(line []byte) {
	switch {
	case c.seal != nil:
		c.after()
	case isLink(line):
		c.link(line)
	default:
		c.sum.Write(line)
		c.body(line)
	}
}

func (c *checker) after() {
	c.broken, c.badEnd = "bytes follow the seal", c.rd.lines.end
}

// body checks the form of a line that is no chain line, and counts it.
func (c *checker) body(line []byte) {
	if c.problem != nil {
		return
	}
	waited := c.rd.next != nil
	if err := c.form(line); err != nil {
		at := mark{line: c.rd.lines.line - 1, off: c.rd.lines.offset}
		if waited {
			at = c.good // the fault may be in the line that announced this one
		}
		c.wrong(&FormatError{Line: at.line + 1, Offset: at.off, Why: err.Error()})
		return
	}
	if c.rd.next == nil {
		c.good = c.here()
	}
}

func (c *checker) form(line []byte) error {
	if c.rd.lines.line == 1 {
		_, err := parseHeader(line)
		return err
	}
	if !written(line) {
		return errors.New("is a line that no recorder of ours wrote")
	}
	e, err := c.rd.parse(line)
	if err != nil {
		return err
	}
	switch {
	case e.Code == 0:
	case e.Code != '#' && !strings.ContainsRune("oirmx", rune(e.Code)):
		return errors.New("is an event of no known code")
	case e.Code != '#':
		c.counts.Events++
		if e.Stream != Gate {
			c.counts.Bytes += uint64(len(e.Data))
		}
	case e.Kind == "check" || e.Kind == "seal":
		return errors.New("is no checkpoint of the form that one has")
	case e.JSON == nil:
		return errors.New("is a note of nothing")
	case e.Kind == "op":
		c.counts.Ops++
	case e.Kind == "recovered":
		var d recoveredNote
		if err := json.Unmarshal(e.JSON, &d); err != nil {
			return errors.New("holds no account of a recovery")
		}
		c.dropped = d.Dropped
	}
	return nil
}

// written tells whether a line begins as a recorder writes events and comments. A reader is not so strict.
func written(line []byte) bool {
	if hasPrefix(line, `#sp {"k":"`) {
		return true
	}
	i := 1
	for i < len(line) && (line[i] >= '0' && line[i] <= '9' || line[i] == '.') {
		i++
	}
	return line[0] == '[' && i > 1 && hasPrefix(line[i:], `, "`)
}

func (c *checker) wrong(e *FormatError) {
	if c.problem == nil {
		c.problem = e
	}
}

func (c *checker) here() mark {
	return mark{off: c.rd.lines.end, line: c.rd.lines.line, at: c.rd.at, counts: c.counts, tails: c.rd.tails}
}

// link holds a chain line against everything before it.
func (c *checker) link(line []byte) {
	if why := c.holds(line); why != nil {
		c.broken, c.badEnd = why.Error(), c.rd.lines.end
		return
	}
	c.chain.seq++
	c.chain.prev = sha256.Sum256(line)
	c.sum.Reset()
	c.signed = c.here()
	c.good = c.signed
}

func (c *checker) holds(line []byte) error {
	l, body, sig, err := parseLink(line)
	if err != nil {
		return fmt.Errorf("checkpoint %d %w", c.chain.seq, err)
	}
	if c.problem != nil {
		return c.problem
	}
	if err := c.follows(l); err != nil {
		return err
	}
	key, err := c.keyOf(l)
	if err != nil {
		return err
	}
	if !ed25519.Verify(key, signed(body), sig) {
		return fmt.Errorf("the signature of checkpoint %d is wrong", l.Seq)
	}
	if l.K == "seal" {
		if err := c.sealed(l, line); err != nil {
			return err
		}
	}
	if c.key == nil {
		c.key, c.chain.session = key, l.Session
	}
	c.masked = l.Masked
	if !l.Recovery {
		c.own = c.rd.lines.end
	}
	return nil
}

// follows checks that l stands where its own words put it.
func (c *checker) follows(l link) error {
	sum := [sha256.Size]byte(c.sum.Sum(nil))
	switch {
	case c.rd.next != nil:
		return errors.New("a checkpoint stands between an event and what was said about it")
	case l.Seq != c.chain.seq:
		return fmt.Errorf("checkpoint %d stands where %d belongs", l.Seq, c.chain.seq)
	case l.Prev != hex.EncodeToString(c.chain.prev[:]):
		return fmt.Errorf("checkpoint %d does not follow the one before it", l.Seq)
	case l.Off != c.rd.lines.offset:
		return fmt.Errorf("checkpoint %d was written at byte %d and stands at %d", l.Seq, l.Off, c.rd.lines.offset)
	case l.Sum != hex.EncodeToString(sum[:]):
		return fmt.Errorf("what stands before checkpoint %d is not what was written", l.Seq)
	case c.key != nil && l.Session != c.chain.session:
		return fmt.Errorf("checkpoint %d is of session %q, the recording of %q", l.Seq, l.Session, c.chain.session)
	case c.o.Session != "" && l.Session != c.o.Session:
		return fmt.Errorf("the recording is of session %q, not of %q", l.Session, c.o.Session)
	}
	return nil
}

// keyOf returns the key that l must be signed with.
func (c *checker) keyOf(l link) (ed25519.PublicKey, error) {
	first := c.key == nil
	switch {
	case !first && l.Chain == nil && !l.Recovery:
		return c.key, nil
	case first && l.Recovery, !first && !l.Recovery, l.Recovery && l.K != "seal", l.Chain == nil:
		return nil, fmt.Errorf("checkpoint %d brings a key where none belongs", l.Seq)
	}
	at, err := time.Parse(time.RFC3339Nano, l.Time)
	if err != nil {
		return nil, fmt.Errorf("checkpoint %d has no time", l.Seq)
	}
	key, err := LeafFor(l.Chain, c.o.Roots, l.Session, at)
	if err != nil {
		return nil, fmt.Errorf("checkpoint %d: %w", l.Seq, err)
	}
	return key, nil
}

// sealed checks what a seal says of the recording.
func (c *checker) sealed(l link, line []byte) error {
	if l.Seal == nil {
		return errors.New("the seal says nothing")
	}
	found := c.counts
	found.Masked = l.Seal.Masked
	switch s := l.Seal.State; {
	case s == Complete && !l.Recovery, s == Recovered && l.Recovery, s == Truncated:
	default:
		return fmt.Errorf("the seal says %q, which its key cannot", s)
	}
	if found != l.Seal.Counts {
		return fmt.Errorf("the seal counts %+v, the recording has %+v", l.Seal.Counts, found)
	}
	seal := l.sealed(line)
	if c.o.Hash != "" && seal.Hash != c.o.Hash {
		return errors.New("the seal is not the one in the ledger")
	}
	c.seal, c.sealOf = &seal, l.Seal.Counts
	return nil
}

func (c *checker) report() Report {
	r := Report{
		Session: c.chain.session, Trusted: c.key != nil && c.o.Roots != nil, Sealed: c.seal != nil, Seal: c.seal,
		Size: c.rd.lines.end, Lines: c.good.line, Counts: c.good.counts, Checkpoints: c.chain.seq,
		SignedUntil: c.signed.off, OwnUntil: c.own, DroppedBytes: c.dropped,
	}
	if c.seal != nil {
		r.Counts = c.sealOf
	}
	switch {
	case c.broken != "":
		r.damaged(c.broken, c.signed, c.badEnd)
		if c.problem != nil {
			r.BadOffset, r.BadLine, r.Why = c.problem.Offset, c.problem.Line, c.problem.Error()
		}
	case c.problem != nil:
		r.damaged(c.problem.Error(), mark{off: c.problem.Offset, line: c.problem.Line - 1}, r.Size)
	case c.seal != nil:
		r.State, r.Why = c.seal.State, sealWhy(c.seal, c.own, c.dropped)
	default:
		r.State, r.Why = Truncated, fmt.Sprintf("ends without a seal; %d bytes after byte %d carry no signature", r.Size-c.signed.off, c.signed.off)
		if c.o.Hash != "" {
			r.Why = "ends without the seal that the ledger has; " + r.Why
		}
		r.BadOffset, r.BadLine = c.signed.off, c.signed.line+1
	}
	return r
}

func (r *Report) damaged(why string, from mark, until int64) {
	r.State, r.Why = Tampered, why
	r.BadOffset, r.BadLine, r.BadUntil = from.off, from.line+1, until
}

func sealWhy(s *Seal, own, dropped int64) string {
	switch s.State {
	case Recovered:
		return fmt.Sprintf("its gate died; what follows byte %d is vouched for by the gate that sealed it", own)
	case Truncated:
		return fmt.Sprintf("sealed as truncated: %s; %d bytes were cut off", s.Reason, dropped)
	}
	return ""
}
