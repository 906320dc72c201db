package cast

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrUnsigned is returned for remains in which not even the beginning is vouched for.
var ErrUnsigned = errors.New("nothing of the recording is signed")

// Remains are what a dead gate left of a recording.
type Remains struct {
	Report Report
	// Keep is the offset up to which the file will be kept, Dropped the bytes behind it. A last line that
	// was being written when the gate died is dropped: no call had returned for it.
	Keep, Dropped int64
	// Damaged says that more than such a line is lost: the seal will say truncated.
	Damaged bool

	c    *checker
	from mark
}

// recoveredNote is the value of the note "recovered".
type recoveredNote struct {
	Signed  int64  `json:"signed_until"` // offset up to which the session's own key vouches
	Dropped int64  `json:"dropped"`      // bytes cut off
	Damaged bool   `json:"damaged"`
	Why     string `json:"why,omitempty"`
}

// Examine reads what is left of a recording and says what of it can be kept: everything that is signed,
// and what follows up to the first line that is not well formed. It changes nothing.
func Examine(r io.Reader, o VerifyOptions) (*Remains, error) {
	c, err := check(r, o)
	if err != nil {
		return nil, err
	}
	m := &Remains{Report: c.report(), c: c, from: c.good}
	if c.seal != nil && c.broken == "" {
		m.Keep = m.Report.Size
		return m, nil
	}
	if c.key == nil {
		return m, fmt.Errorf("%w: %s", ErrUnsigned, m.Report.Why)
	}
	if c.broken != "" && c.problem == nil {
		m.from = c.signed // a line in between was changed, and which one cannot be told
	}
	m.Keep = m.from.off
	if m.Report.Size, err = drain(c.rd.lines); err != nil {
		return nil, err
	}
	m.Dropped = m.Report.Size - m.Keep
	m.Damaged = c.broken != "" || c.problem != nil
	return m, nil
}

// drain reads to the end and returns the offset there.
func drain(l *lineReader) (int64, error) {
	n, err := io.Copy(io.Discard, l.r)
	if err != nil {
		return 0, fmt.Errorf("read recording: %w", err)
	}
	return l.end + n, nil
}

// File is what a recording is recovered in: an [os.File] opened for reading and writing.
type File interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
}

// RecoverOptions say who seals the remains.
type RecoverOptions struct {
	Key    ed25519.PrivateKey // minted for the same session
	Chain  [][]byte
	Reason string
	// Failed says how the recorder failed before the session ended: the seal then says truncated, whatever
	// the file looks like. "": it did not.
	Failed string
	Now    func() time.Time // time.Now
}

// Seal cuts f to what is kept and seals it as recovered, or as truncated when it is damaged. Where it is
// sealed already nothing is changed.
func (m *Remains) Seal(f File, o RecoverOptions) (Seal, error) {
	if m.Report.Sealed && m.Dropped == 0 {
		return *m.Report.Seal, nil
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	state, why := Recovered, ""
	switch {
	case o.Failed != "":
		state, why = Truncated, o.Failed
	case m.Damaged:
		state, why = Truncated, m.Report.Why
	}
	var out bytes.Buffer
	w, err := m.writer(f, &out, o)
	if err != nil {
		return Seal{}, err
	}
	note := recoveredNote{Signed: m.c.own, Dropped: m.Dropped, Damaged: m.Damaged, Why: why}
	if err := w.Note("recovered", note); err != nil {
		return Seal{}, err
	}
	if err := w.flushTails(); err != nil {
		return Seal{}, err
	}
	seal, err := w.seal(End{State: state, Reason: o.Reason}, o.Chain)
	if err != nil {
		return Seal{}, err
	}
	if err := f.Truncate(m.Keep); err != nil {
		return Seal{}, fmt.Errorf("cut recording: %w", err)
	}
	if _, err := f.WriteAt(out.Bytes(), m.Keep); err != nil {
		return Seal{}, errors.Join(fmt.Errorf("seal recording: %w", err), f.Truncate(m.Keep))
	}
	return seal, nil
}

// writer goes on where the remains end.
func (m *Remains) writer(f File, out io.Writer, o RecoverOptions) (*Writer, error) {
	w := &Writer{
		w: out, now: o.Now, key: o.Key, sum: sha256.New(), chain: m.c.chain,
		off: m.Keep, synced: m.c.signed.off, at: m.from.at, counts: m.from.counts, tails: m.from.tails,
	}
	w.counts.Masked = m.c.masked
	for _, t := range w.tails {
		w.counts.Bytes += uint64(t.n)
	}
	w.start = o.Now().Add(-micros(m.from.at))
	if len(o.Key) != ed25519.PrivateKeySize || len(o.Chain) == 0 {
		return nil, errors.New("recover recording: no key")
	}
	if _, err := io.Copy(w.sum, io.NewSectionReader(f, w.synced, w.off-w.synced)); err != nil {
		return nil, fmt.Errorf("recover recording: %w", err)
	}
	return w, nil
}
