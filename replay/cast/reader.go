package cast

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// An Event is one line of a recording after the header: an event or a comment.
type Event struct {
	Line   int           // in the file, from 1
	Offset int64         // of the line's first byte
	End    int64         // of the byte behind the line
	At     time.Duration // from the start of the recording

	// Code is 'o', 'i', 'r', 'm', 'x' or another code of a newer format for events, '#' for comments.
	Code byte
	// Text is what a player shows: of an event its third element, of a comment that is not ours the line.
	// Valid until the next call.
	Text []byte

	Stream     Stream // of 'o' and 'i'
	Data       []byte // of 'o' and 'i': the exact bytes; valid until the next call
	Cols, Rows uint32 // of 'r'; clamped to 1..9999
	Status     int    // of 'x'

	Kind string          // of '#': the note's kind, "check" or "seal"; "" when it is not ours
	JSON json.RawMessage // of '#': the note's value, or a checkpoint's whole object; valid until the next call
}

// A Reader gives back the events of a recording of any origin. It holds one line at a time, and refuses
// lines longer than [MaxLine] and JSON that is nested too deep. It checks the form, not the signatures:
// that is [Verify].
type Reader struct {
	Header Header
	// Lenient ends the recording, without an error, before a last line that is not whole. That is how a
	// live recording ends, or one whose gate died.
	Lenient bool

	lines *lineReader
	at    int64
	text  []byte
	tails [3]tail
	next  *comment // what the last line said about this one
}

// lineReader yields lines with their newline, and knows where they stood.
type lineReader struct {
	r      *bufio.Reader
	long   []byte
	line   int
	offset int64 // of the line returned last
	end    int64 // behind it
}

var errLineTooLong = errors.New("is longer than a line may be")

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// next returns the next line, valid until the next call. A last line without a newline comes with io.EOF.
func (l *lineReader) next() ([]byte, error) {
	l.offset = l.end
	l.line++
	l.long = l.long[:0]
	for {
		b, err := l.r.ReadSlice('\n')
		l.end += int64(len(b))
		if err != bufio.ErrBufferFull && len(l.long) == 0 {
			return b, err
		}
		if len(l.long)+len(b) > MaxLine {
			return nil, l.wrong(errLineTooLong)
		}
		l.long = append(l.long, b...)
		if err != bufio.ErrBufferFull {
			return l.long, err
		}
	}
}

func (l *lineReader) wrong(err error) error {
	return &FormatError{Line: l.line, Offset: l.offset, Why: err.Error()}
}

// NewReader reads the header. Errors are of the underlying reader or a [*FormatError].
func NewReader(r io.Reader) (*Reader, error) {
	rd := &Reader{lines: newLineReader(r)}
	line, err := rd.lines.next()
	if err != nil && (err != io.EOF || len(line) == 0) {
		if err == io.EOF {
			err = rd.lines.wrong(errors.New("is empty: no recording"))
		}
		return nil, err
	}
	rd.Header, err = parseHeader(line)
	if err != nil {
		return nil, rd.lines.wrong(err)
	}
	return rd, nil
}

func parseHeader(line []byte) (Header, error) {
	if len(line) == 0 || line[0] != '{' {
		return Header{}, errors.New("is no header of an asciicast: want a JSON object")
	}
	if err := checkDepth(line, maxDepth); err != nil {
		return Header{}, err
	}
	var l headerLine
	if err := json.Unmarshal(line, &l); err != nil {
		return Header{}, fmt.Errorf("is no header of an asciicast: %s", clean(err.Error()))
	}
	if l.Version != 3 {
		return Header{}, fmt.Errorf("is the header of an asciicast of version %d, known is 3", l.Version)
	}
	return Header{
		Cols: side(l.Term.Cols, 80), Rows: side(l.Term.Rows, 24), Type: l.Term.Type,
		Timestamp: time.Unix(l.Timestamp, 0).UTC(), Command: l.Command, Title: l.Title, Env: l.Env, Tags: l.Tags,
	}, nil
}

// Next returns the next event or comment, io.EOF at the end, or a [*FormatError].
func (r *Reader) Next() (Event, error) {
	for {
		line, err := r.lines.next()
		if err != nil && err != io.EOF {
			return Event{}, err
		}
		if err == io.EOF && (len(line) == 0 || r.Lenient) {
			return r.last()
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		e, err := r.parse(line)
		if err != nil {
			return Event{}, r.lines.wrong(err)
		}
		if e.Code != 0 {
			return e, nil
		}
	}
}

// last yields the runes that were begun and never ended, one stream at a time, then io.EOF.
func (r *Reader) last() (Event, error) {
	for i, s := range []Stream{Stdout, Stderr, Stdin} {
		t := &r.tails[i]
		if t.n == 0 {
			continue
		}
		e := Event{Line: r.lines.line, Offset: r.lines.offset, At: micros(r.at), Code: 'o', Stream: s}
		if s == Stdin {
			e.Code = 'i'
		}
		e.Data = append([]byte(nil), t.b[:t.n]...)
		e.Text = []byte("\uFFFD")
		t.n = 0
		return e, nil
	}
	return Event{}, io.EOF
}

func micros(us int64) time.Duration { return time.Duration(us) * time.Microsecond }

// parse returns an event with Code 0 for a line that only prepares the next.
func (r *Reader) parse(line []byte) (Event, error) {
	e := Event{Line: r.lines.line, Offset: r.lines.offset, End: r.lines.end, At: micros(r.at)}
	if line[0] == '#' {
		return r.comment(e, line)
	}
	us, code, text, err := parseEvent(r.text[:0], line)
	r.text = text
	if err != nil {
		return e, err
	}
	if r.at += us; r.at > maxSeconds*1e6 {
		return e, errors.New("lies more than ten years behind the start")
	}
	e.At, e.Code, e.Text = micros(r.at), code, text
	next := r.next
	r.next = nil
	switch code {
	case 'o', 'i':
		return r.data(e, next)
	case 'r':
		e.Cols, e.Rows, err = parseSize(text)
	case 'x':
		e.Status, err = strconv.Atoi(string(text))
		if err != nil {
			err = errors.New("has an exit status that is no number")
		}
	}
	if next != nil {
		return e, errors.New("is no output, which the line before it announced")
	}
	return e, err
}

// data restores the exact bytes of an output or input event.
func (r *Reader) data(e Event, next *comment) (Event, error) {
	e.Stream, e.Data = Stdout, e.Text
	if e.Code == 'i' {
		e.Stream = Stdin
	}
	if next != nil {
		s, err := next.stream(e.Stream)
		if err != nil {
			return e, err
		}
		if (s == Stdin) != (e.Code == 'i') {
			return e, errors.New("is of another stream than the line before it announced")
		}
		e.Stream = s
		if next.B != "" {
			bad, err := next.bytes()
			if err != nil {
				return e, err
			}
			if e.Data, err = restore(e.Text, bad); err != nil {
				return e, err
			}
		}
	}
	if i := tailIndex(e.Stream); i >= 0 {
		r.tails[i].n = 0
	}
	return e, nil
}

func tailIndex(s Stream) int {
	switch s {
	case Stdout:
		return 0
	case Stderr:
		return 1
	case Stdin:
		return 2
	}
	return -1
}

func (r *Reader) comment(e Event, line []byte) (Event, error) {
	if r.next != nil {
		return e, errors.New("is no output, which the line before it announced")
	}
	e.Code = '#'
	if !hasPrefix(line, commentPrefix) {
		e.Text = bytes.TrimRight(line, "\r\n")
		return e, nil
	}
	c, err := parseComment(line)
	if err != nil {
		return e, err
	}
	switch c.K {
	case "next":
		r.next, e.Code = &c, 0
	case "tail":
		e.Code = 0
		err = r.hold(c)
	case "check", "seal":
		e.Kind, e.JSON = c.K, bytes.TrimSpace(line[len(commentPrefix):])
	default:
		e.Kind, e.JSON = c.K, c.D
		if c.T != "" {
			p := parser{b: append([]byte(c.T), ' ')}
			us, terr := p.micros()
			e.At, err = micros(us), terr
		}
	}
	return e, err
}

func (r *Reader) hold(c comment) error {
	s, err := c.stream(0)
	if err != nil {
		return err
	}
	b, err := c.bytes()
	if err != nil {
		return err
	}
	i := tailIndex(s)
	if i < 0 || len(b) == 0 || len(b) > len(r.tails[i].b) {
		return errors.New("holds back what is no beginning of a rune")
	}
	r.tails[i].n = uint8(copy(r.tails[i].b[:], b))
	return nil
}

func parseSize(text []byte) (cols, rows uint32, err error) {
	c, rw, ok := bytes.Cut(text, []byte{'x'})
	w, err1 := strconv.ParseUint(string(c), 10, 32)
	h, err2 := strconv.ParseUint(string(rw), 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return 0, 0, errors.New("has a size that is not COLSxROWS")
	}
	return side(uint32(w), 1), side(uint32(h), 1), nil
}
