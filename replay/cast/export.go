package cast

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// ExportV2 writes the recording as an asciicast v2, for players that know no newer. Comments, and the exit
// status, for which version 2 has no event, are left out. Nothing in it is signed.
func ExportV2(w io.Writer, r *Reader) error {
	h := struct {
		Version   int               `json:"version"`
		Width     uint32            `json:"width"`
		Height    uint32            `json:"height"`
		Timestamp int64             `json:"timestamp,omitempty"`
		Command   string            `json:"command,omitempty"`
		Title     string            `json:"title,omitempty"`
		Env       map[string]string `json:"env,omitempty"`
	}{2, r.Header.Cols, r.Header.Rows, max(r.Header.Timestamp.Unix(), 0), clean(r.Header.Command), clean(r.Header.Title), r.Header.Env}
	line, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	out := bufio.NewWriter(w)
	out.Write(append(appendSafeJSON(nil, line), '\n'))
	var b []byte
	return each(r, out, func(e Event) {
		switch e.Code {
		case 'o', 'i', 'm', 'r':
			b = append(appendMicros(append(b[:0], '['), e.At.Microseconds()), `, "`...)
			b = append(append(b, e.Code), `", "`...)
			out.Write(append(appendText(b, e.Text), "\"]\n"...))
		}
	})
}

// ExportText writes what the session put out as plain text: without escapes, each line as it stood when it
// was ended. What full-screen programs drew comes out as the text they wrote, in the order they wrote it.
func ExportText(w io.Writer, r *Reader) error {
	out := bufio.NewWriter(w)
	line := &screenLine{out: out}
	s := &Sanitizer{text: line}
	err := each(r, out, func(e Event) {
		if e.Code == 'o' {
			s.Append(nil, e.Data)
		}
	})
	if err != nil {
		return err
	}
	if len(line.runes) > 0 {
		line.end()
	}
	return flushed(out)
}

// ExportJSON writes one JSON object a line: {"t": seconds, "code": ..., "stream": ..., "data": ..., "b64": ...}.
// "b64" stands, instead of nothing, beside data that is not UTF-8 and holds the exact bytes. Notes have "kind"
// and "note".
func ExportJSON(w io.Writer, r *Reader) error {
	out := bufio.NewWriter(w)
	var b []byte
	return each(r, out, func(e Event) {
		b = appendMicros(append(b[:0], `{"t":`...), e.At.Microseconds())
		b = append(appendText(append(b, `,"code":"`...), []byte{e.Code}), '"')
		switch {
		case e.Code == '#' && e.Kind != "":
			b = append(append(b, `,"kind":"`...), e.Kind...)
			b = append(append(b, `","note":`...), jsonOrNull(e.JSON)...)
		case e.Code == '#':
			b = append(appendText(append(b, `,"comment":"`...), e.Text), '"')
		case e.Code == 'o' || e.Code == 'i':
			b = append(append(b, `,"stream":"`...), e.Stream.String()...)
			b = append(appendText(append(b, `","data":"`...), e.Data), '"')
			if !utf8.Valid(e.Data) {
				b = append(appendBase64(append(b, `,"b64":"`...), e.Data), '"')
			}
		default:
			b = append(appendText(append(b, `,"data":"`...), e.Text), '"')
		}
		out.Write(append(b, "}\n"...))
	})
}

func jsonOrNull(v json.RawMessage) []byte {
	if len(v) == 0 {
		return []byte("null")
	}
	return appendSafeJSON(nil, v)
}

// each hands all events to f and flushes.
func each(r *Reader, out *bufio.Writer, f func(Event)) error {
	for {
		e, err := r.Next()
		if err == io.EOF {
			return flushed(out)
		}
		if err != nil {
			out.Flush()
			return fmt.Errorf("export: %w", err)
		}
		f(e)
	}
}

func flushed(out *bufio.Writer) error {
	if err := out.Flush(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// screenLine is the line that is being written, as a terminal would show it: carriage return, backspace,
// erasing and moving within it are obeyed, so that an edited command line reads as it was in the end.
type screenLine struct {
	out   *bufio.Writer
	runes []rune
	col   int
}

// maxLineRunes bounds a line; what is longer is broken.
const maxLineRunes = 64 << 10

func (l *screenLine) put(r rune) {
	if l.col >= maxLineRunes {
		l.end()
	}
	l.fill()
	if l.col == len(l.runes) {
		l.runes = append(l.runes, r)
	} else {
		l.runes[l.col] = r
	}
	l.col++
}

func (l *screenLine) fill() {
	for len(l.runes) < l.col {
		l.runes = append(l.runes, ' ')
	}
}

func (l *screenLine) control(c byte) {
	switch c {
	case '\n', '\v', '\f':
		l.end()
	case '\r':
		l.col = 0
	case '\b':
		l.col = max(l.col-1, 0)
	case '\t':
		l.put('\t')
	}
}

// sequence obeys the control sequences that line editors use.
func (l *screenLine) sequence(seq []byte, final byte) {
	n, err := strconv.Atoi(string(seq))
	if err != nil || n < 1 || n > maxNumber {
		n = 1
	}
	switch final {
	case 'C':
		l.col = min(l.col+n, maxLineRunes-1)
	case 'D':
		l.col = max(l.col-n, 0)
	case 'G':
		l.col = n - 1
	case 'K':
		if len(seq) == 0 || seq[0] == '0' {
			l.runes = l.runes[:min(l.col, len(l.runes))]
		}
	case 'P':
		if l.col < len(l.runes) {
			l.runes = append(l.runes[:l.col], l.runes[min(l.col+n, len(l.runes)):]...)
		}
	case '@':
		if l.col < len(l.runes) && len(l.runes)+n < maxLineRunes {
			l.runes = append(l.runes[:l.col], append(make([]rune, n), l.runes[l.col:]...)...)
			for i := range n {
				l.runes[l.col+i] = ' '
			}
		}
	case 'H', 'f', 'd', 'A', 'B', 'E', 'F':
		if len(l.runes) > 0 { // the cursor went elsewhere on the screen
			l.end()
		}
	}
}

func (l *screenLine) end() {
	for _, r := range l.runes {
		l.out.WriteRune(r)
	}
	l.out.WriteByte('\n')
	l.runes, l.col = l.runes[:0], 0
}
