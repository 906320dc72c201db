package cast

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// WriterOptions are what a recording starts with.
type WriterOptions struct {
	Session string             // the session's id, in every checkpoint
	Key     ed25519.PrivateKey // signs the checkpoints
	Chain   [][]byte           // certifies Key for Session: DER, leaf first
	Header  Header
	Meta    any              // becomes the first note, kind "meta"; nil: none
	Now     func() time.Time // time.Now; a test's clock
}

// A Writer makes one recording. Each call hands its lines to the underlying writer in one Write, two where
// they exceed 256 KiB, and returns its error; after an error nothing more is written. [Writer.Gather] keeps lines
// back, to be written together. A Writer is not safe for concurrent use.
type Writer struct {
	w     io.Writer
	now   func() time.Time
	start time.Time
	key   ed25519.PrivateKey

	chain  chain
	sum    hash.Hash // of the bytes since the last chain line
	off    int64     // bytes written
	synced int64     // offset behind the last chain line
	at     int64     // microseconds from the start to the last event
	counts Counts
	tails  [3]tail // of stdout, stderr, stdin
	err    error

	gather bool
	kept   []byte // lines that are not written yet
}

// tail is the beginning of a rune whose end has not been written yet.
type tail struct {
	b [utf8.UTFMax]byte
	n uint8
}

// flushAt is how much is gathered before a call that writes more than one line writes.
const flushAt = 256 << 10

// scratch is what encoding needs: lines, and the bytes of an event that are not UTF-8. It is shared by all
// writers, so that an idle recording holds none.
type scratch struct{ lines, bad []byte }

var scratches = sync.Pool{New: func() any { return &scratch{lines: make([]byte, 0, 4<<10)} }}

// NewWriter starts a recording: header, meta and the first checkpoint, with the key's certificates, are
// written together.
func NewWriter(w io.Writer, o WriterOptions) (*Writer, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if len(o.Key) != ed25519.PrivateKeySize || o.Session == "" {
		return nil, fmt.Errorf("start recording: no session or no key")
	}
	wr := &Writer{w: w, now: o.Now, key: o.Key, sum: sha256.New(), chain: chain{session: o.Session}}
	wr.start = wr.now()
	if o.Header.Timestamp.IsZero() {
		o.Header.Timestamp = wr.start
	}
	buf, err := appendHeader(nil, o.Header)
	if err != nil {
		return nil, fmt.Errorf("start recording: %w", err)
	}
	if o.Meta != nil {
		if buf, err = wr.appendNote(buf, "meta", o.Meta); err != nil {
			return nil, fmt.Errorf("start recording: %w", err)
		}
	}
	wr.sum.Write(buf)
	line, err := wr.link(link{K: "check", Chain: o.Chain}, int64(len(buf)))
	if err != nil {
		return nil, err
	}
	wr.sum.Reset()
	if err := wr.raw(append(buf, line...)); err != nil {
		return nil, err
	}
	wr.synced = wr.off
	return wr, nil
}

type headerLine struct {
	Version int `json:"version"`
	Term    struct {
		Cols uint32 `json:"cols"`
		Rows uint32 `json:"rows"`
		Type string `json:"type,omitempty"`
	} `json:"term"`
	Timestamp int64             `json:"timestamp,omitempty"`
	Command   string            `json:"command,omitempty"`
	Title     string            `json:"title,omitempty"`
	Env       map[string]string `json:"env,omitempty"`
	Tags      []string          `json:"tags,omitempty"`
}

func appendHeader(dst []byte, h Header) ([]byte, error) {
	l := headerLine{Version: 3, Timestamp: h.Timestamp.Unix(), Env: h.Env, Tags: h.Tags}
	l.Term.Cols, l.Term.Rows = side(h.Cols, 80), side(h.Rows, 24)
	l.Term.Type, l.Command, l.Title = clean(h.Type), clean(h.Command), clean(h.Title)
	b, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if dst = appendSafeJSON(dst, b); len(dst) > MaxNote {
		return nil, fmt.Errorf("header: %w", ErrTooLarge)
	}
	return append(dst, '\n'), nil
}

// clean drops what has no business in a title or a terminal's name. The exact command stands in meta.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || needsEscape(r) {
			return ' '
		}
		return r
	}, s)
}

func side(n, missing uint32) uint32 {
	if n == 0 {
		return missing
	}
	return min(n, maxSide)
}

// elapsed is the time since the start in microseconds; it never goes back.
func (w *Writer) elapsed() int64 {
	return max(w.now().Sub(w.start).Microseconds(), w.at)
}

// raw writes finished lines. What was written counts even when the write failed half way.
func (w *Writer) raw(b []byte) error {
	n, err := w.w.Write(b)
	w.off += int64(n)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.err = fmt.Errorf("write recording: %w", err)
	}
	return w.err
}

// put writes lines that the next checkpoint will cover, behind those that were kept.
func (w *Writer) put(b []byte) error {
	if w.gather || len(w.kept) > 0 {
		w.kept = append(w.kept, b...)
		if w.gather && len(w.kept) < flushAt {
			return nil
		}
		b = w.kept
		if w.kept = w.kept[:0]; cap(w.kept) > keptAtMost {
			w.kept = nil
		}
	}
	if err := w.raw(b); err != nil {
		return err
	}
	w.sum.Write(b)
	return nil
}

// keptAtMost is how much memory stays with a writer for lines to gather.
const keptAtMost = 4 << 10

// Gather keeps back the lines of all that f records, up to 256 KiB of them, until the next call outside of one. What
// is kept is lost with the process: only what nobody acts on before Flush may be gathered.
func (w *Writer) Gather(f func() error) error {
	w.gather = true
	defer func() { w.gather = false }()
	return f()
}

// Flush writes what was kept.
func (w *Writer) Flush() error {
	if w.err != nil || len(w.kept) == 0 {
		return w.err
	}
	return w.put(nil)
}

// Output records what the session put out on s, exactly, before it is shown.
func (w *Writer) Output(s Stream, p []byte) error { return w.data(s, p) }

// Input records what was typed.
func (w *Writer) Input(p []byte) error { return w.data(Stdin, p) }

func (w *Writer) data(s Stream, p []byte) error {
	if w.err != nil {
		return w.err
	}
	if len(p) == 0 {
		return nil
	}
	buf := scratches.Get().(*scratch)
	defer scratches.Put(buf)
	buf.lines = buf.lines[:0]
	held, at := w.tail(s), w.elapsed()
	for len(p) > 0 {
		chunk := p[:min(len(p), MaxChunk)]
		p = p[len(chunk):]
		w.appendChunk(buf, s, held, chunk, at)
		if len(p) == 0 && held != nil && held.n > 0 {
			buf.lines = appendTail(buf.lines, s, held.b[:held.n])
		}
		if len(buf.lines) < flushAt && len(p) > 0 {
			continue
		}
		if err := w.put(buf.lines); err != nil {
			return err
		}
		buf.lines = buf.lines[:0]
	}
	return nil
}

func (w *Writer) tail(s Stream) *tail {
	if i := tailIndex(s); i >= 0 {
		return &w.tails[i]
	}
	return nil
}

// appendChunk appends the event of one chunk, keeping back a rune that its last bytes only begin.
func (w *Writer) appendChunk(b *scratch, s Stream, held *tail, chunk []byte, at int64) {
	if held == nil {
		w.appendEvent(b, s, chunk, at)
		return
	}
	w.counts.Bytes += uint64(len(chunk))
	if held.n > 0 {
		// At most three bytes are held, so the first few of the chunk complete or break the rune. What is
		// joined here is small; the rest of the chunk is not copied.
		var joined [2 * utf8.UTFMax]byte
		take := min(len(chunk), utf8.UTFMax)
		j := append(append(joined[:0], held.b[:held.n]...), chunk[:take]...)
		if take == len(chunk) {
			w.keep(b, s, held, j, at)
			return
		}
		// Cut the joined piece where a rune of it ends, and go on in the chunk from there.
		n := firstRunes(j, int(held.n))
		w.appendEvent(b, s, j[:n], at)
		chunk = chunk[n-int(held.n):]
	}
	w.keep(b, s, held, chunk, at)
}

// keep appends an event of the whole runes of p and holds the rest back.
func (w *Writer) keep(b *scratch, s Stream, held *tail, p []byte, at int64) {
	n := whole(p)
	if n > 0 {
		w.appendEvent(b, s, p[:n], at)
	}
	held.n = uint8(copy(held.b[:], p[n:]))
}

// firstRunes returns the length of the first runes of p that together cover at least n bytes.
func firstRunes(p []byte, n int) int {
	i := 0
	for i < n {
		_, size := utf8.DecodeRune(p[i:])
		i += size
	}
	return i
}

func (w *Writer) appendEvent(buf *scratch, s Stream, p []byte, at int64) {
	b := buf.lines
	buf.bad = damage(buf.bad[:0], p)
	bad := buf.bad
	if len(bad) > 0 || s == Stderr || s == Gate {
		b = append(b, `#sp {"k":"next"`...)
		if s == Stderr || s == Gate {
			b = append(b, `,"s":"`...)
			b = append(b, byte(s), '"')
		}
		if len(bad) > 0 {
			b = append(b, `,"b":"`...)
			b = append(appendBase64(b, bad), '"')
		}
		b = append(b, '}', '\n')
	}
	code := byte('o')
	if s == Stdin {
		code = 'i'
	}
	b = w.open(b, code, at)
	b = appendText(b, p)
	buf.lines = append(b, '"', ']', '\n')
}

// open begins an event's line and counts it. Intervals are differences of rounded times, so rounding does
// not add up.
func (w *Writer) open(b []byte, code byte, at int64) []byte {
	w.counts.Events++
	b = append(b, '[')
	b = appendMicros(b, at-w.at)
	w.at = at
	return append(b, ',', ' ', '"', code, '"', ',', ' ', '"')
}

func appendTail(b []byte, s Stream, p []byte) []byte {
	b = append(b, `#sp {"k":"tail","s":"`...)
	b = append(b, byte(s))
	b = append(b, `","b":"`...)
	return append(appendBase64(b, p), '"', '}', '\n')
}

// Resize records a new size of the terminal, in characters.
func (w *Writer) Resize(cols, rows uint32) error {
	return w.event('r', fmt.Appendf(nil, "%dx%d", side(cols, 80), side(rows, 24)))
}

// Marker records a point on the timeline. The label is shown by players.
func (w *Writer) Marker(label string) error {
	if len(label) > 4<<10 {
		label = label[:4<<10]
	}
	return w.event('m', []byte(strings.ToValidUTF8(label, "\uFFFD")))
}

// Exit records the session's exit status.
func (w *Writer) Exit(status int) error {
	if w.err != nil {
		return w.err
	}
	if err := w.flushTails(); err != nil {
		return err
	}
	return w.event('x', fmt.Appendf(nil, "%d", status))
}

func (w *Writer) event(code byte, text []byte) error {
	if w.err != nil {
		return w.err
	}
	b := w.open(nil, code, w.elapsed())
	b = appendText(b, text)
	return w.put(append(b, '"', ']', '\n'))
}

// reserved kinds mean something to the format.
var reserved = map[string]bool{"check": true, "seal": true, "next": true, "tail": true}

func validKind(kind string) bool {
	if len(kind) == 0 || len(kind) > 32 || reserved[kind] {
		return false
	}
	for _, c := range []byte(kind) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// Note records a fact as JSON in a comment line. Kind "op" is an operation and is counted. A note that
// cannot be encoded or is too large is refused and leaves the recording as it was.
func (w *Writer) Note(kind string, v any) error {
	if w.err != nil {
		return w.err
	}
	b, err := w.appendNote(nil, kind, v)
	if err != nil {
		return fmt.Errorf("note %q: %w", kind, err)
	}
	if err := w.put(b); err != nil {
		return err
	}
	if kind == "op" {
		w.counts.Ops++
	}
	return nil
}

func (w *Writer) appendNote(b []byte, kind string, v any) ([]byte, error) {
	if !validKind(kind) {
		return nil, ErrKind
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(data) > MaxNote {
		return nil, ErrTooLarge
	}
	if err := checkDepth(data, maxDepth-1); err != nil {
		return nil, err
	}
	b = append(b, `#sp {"k":"`...)
	b = append(b, kind...)
	b = append(b, `","t":`...)
	b = appendMicros(b, w.elapsed())
	b = append(b, `,"d":`...)
	start := len(b)
	b = appendSafeJSON(b, data)
	if len(b)-start > MaxNote {
		return nil, ErrTooLarge // as escaped
	}
	return append(b, '}', '\n'), nil
}

// appendSafeJSON appends valid JSON, escaping in its strings what appendText escapes. json.Marshal has
// already escaped everything below U+0080 but DEL.
func appendSafeJSON(b, data []byte) []byte {
	for _, r := range string(data) {
		if r == 0x7f || needsEscape(r) {
			b = append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
			continue
		}
		b = utf8.AppendRune(b, r)
	}
	return b
}

// Masked records that n values were masked.
func (w *Writer) Masked(n uint64) { w.counts.Masked += n }

// Checkpoint signs everything written since the last one. It does nothing where there is nothing to sign.
func (w *Writer) Checkpoint() error {
	if err := w.Flush(); err != nil {
		return err
	}
	if w.err != nil || w.off == w.synced {
		return w.err
	}
	line, err := w.link(link{K: "check"}, w.off)
	if err != nil {
		return err
	}
	w.sum.Reset()
	err = w.raw(line)
	w.synced = w.off
	return err
}

// link makes the next chain line, to stand at offset off.
func (w *Writer) link(l link, off int64) ([]byte, error) {
	l.Masked = w.counts.Masked
	l.Off, l.T, l.Time = off, w.elapsed(), w.now().UTC().Format(time.RFC3339Nano)
	line, err := w.chain.sign(l, w.key, [sha256.Size]byte(w.sum.Sum(nil)))
	if err != nil {
		w.err = err
	}
	return line, err
}

// Unsigned returns how many bytes follow the last checkpoint.
func (w *Writer) Unsigned() int64 { return w.off - w.synced }

// Size returns the bytes written so far, without those that are kept.
func (w *Writer) Size() int64 { return w.off }

// Counts returns what was recorded so far.
func (w *Writer) Counts() Counts { return w.counts }

// Err returns the error that stopped the recording, or nil.
func (w *Writer) Err() error { return w.err }

// End says how a session ended, for its seal.
type End struct {
	State  State // Complete if ""
	Status *int
	Signal string
	Reason string
}

// Close writes what is held back and the seal. Nothing can be recorded after it.
func (w *Writer) Close(e End) (Seal, error) {
	if w.err != nil {
		return Seal{}, w.err
	}
	if e.State == "" {
		e.State = Complete
	}
	if err := w.flushTails(); err != nil {
		return Seal{}, err
	}
	if err := w.Flush(); err != nil {
		return Seal{}, err
	}
	return w.seal(e, nil)
}

// flushTails writes runes that were begun and never ended.
func (w *Writer) flushTails() error {
	var b scratch
	for i, s := range []Stream{Stdout, Stderr, Stdin} {
		if t := &w.tails[i]; t.n > 0 {
			w.appendEvent(&b, s, t.b[:t.n], w.elapsed())
			t.n = 0
		}
	}
	if b.lines == nil {
		return nil
	}
	return w.put(b.lines)
}

func (w *Writer) seal(e End, chain [][]byte) (Seal, error) {
	if len(e.Reason) > 4<<10 {
		e.Reason = e.Reason[:4<<10]
	}
	e.Reason = strings.ToValidUTF8(e.Reason, "\uFFFD")
	l := link{K: "seal", Recovery: chain != nil, Chain: chain,
		Seal: &sealBody{State: e.State, Reason: e.Reason, Status: e.Status, Signal: e.Signal, Counts: w.counts}}
	line, err := w.link(l, w.off)
	if err != nil {
		return Seal{}, err
	}
	if err := w.raw(line); err != nil {
		return Seal{}, err
	}
	w.err, w.key = ErrClosed, nil
	s, _, _, err := parseLink(line)
	if err != nil {
		return Seal{}, err
	}
	return s.sealed(line), nil
}
