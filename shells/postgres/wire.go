package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Messages after the first: a type, a length that counts itself, and a body.
const header = 5

// Sizes of the buffers that messages are read into: small while a connection idles, large while it flows.
const (
	smallBuffer = 4 << 10
	largeBuffer = 64 << 10
)

// errProtocol is a peer that does not speak the protocol.
var errProtocol = errors.New("protocol violation")

// frames cuts a stream into messages. A message is valid until the next call.
type frames struct {
	r          io.Reader
	max        int // bytes of a body
	buf        []byte
	start, end int
}

func newFrames(r io.Reader, max int) *frames {
	return &frames{r: r, max: max, buf: make([]byte, smallBuffer)}
}

// ready tells whether next would return without reading.
func (f *frames) ready() bool {
	n, err := f.pending()
	return err != nil || n > 0 && f.end-f.start >= n
}

// pending is the size of the message that begins the buffer, or 0 when its head is not there yet.
func (f *frames) pending() (int, error) {
	if f.end-f.start < header {
		return 0, nil
	}
	n := int(int32(binary.BigEndian.Uint32(f.buf[f.start+1:])))
	if n < 4 || n-4 > f.max {
		return 0, fmt.Errorf("%w: a message %q of %d bytes", errProtocol, f.buf[f.start], n)
	}
	return n + 1, nil
}

// next returns the next message, whole. [io.EOF] comes only between messages.
func (f *frames) next() ([]byte, error) {
	for {
		n, err := f.pending()
		if err != nil {
			return nil, err
		}
		if n > 0 && f.end-f.start >= n {
			m := f.buf[f.start : f.start+n]
			f.start += n
			return m, nil
		}
		if err := f.fill(n); err != nil {
			if err == io.EOF && f.end > f.start {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// more extends m, which next has just returned, by the messages of the same type that follow it in the buffer.
func (f *frames) more(m []byte) []byte {
	from := f.start - len(m)
	for f.start < f.end && f.buf[f.start] == m[0] {
		n, err := f.pending()
		if err != nil || n == 0 || f.end-f.start < n {
			break
		}
		f.start += n
	}
	return f.buf[from:f.start]
}

// fill reads more, into a buffer that can hold need bytes.
func (f *frames) fill(need int) error {
	have := f.end - f.start
	if have == 0 && len(f.buf) > largeBuffer {
		f.buf, f.start, f.end = make([]byte, smallBuffer), 0, 0 // what a large message took is given back
	}
	size := len(f.buf)
	if f.end == len(f.buf) && f.start == 0 || need > size {
		size = max(need, min(2*size, largeBuffer))
	}
	if size != len(f.buf) && size > have {
		grown := make([]byte, size)
		copy(grown, f.buf[f.start:f.end])
		f.buf, f.start, f.end = grown, 0, have
	} else if f.start > 0 {
		copy(f.buf, f.buf[f.start:f.end])
		f.start, f.end = 0, have
	}
	n, err := f.r.Read(f.buf[f.end:])
	f.end += n
	if n > 0 {
		if f.end == len(f.buf) && size < largeBuffer {
			grown := make([]byte, min(4*size, largeBuffer))
			copy(grown, f.buf[:f.end])
			f.buf = grown
		}
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// A body is read from front to back; bad is set when it is too short.
type body struct {
	p   []byte
	bad bool
}

func (b *body) take(n int) []byte {
	if n < 0 || n > len(b.p) {
		b.bad = true
		b.p = nil
		return nil
	}
	v := b.p[:n]
	b.p = b.p[n:]
	return v
}

func (b *body) byte() byte {
	if v := b.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (b *body) int16() int {
	if v := b.take(2); v != nil {
		return int(binary.BigEndian.Uint16(v))
	}
	return 0
}

func (b *body) int32() int {
	if v := b.take(4); v != nil {
		return int(int32(binary.BigEndian.Uint32(v)))
	}
	return 0
}

func (b *body) oid() uint32 {
	if v := b.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// text is a string that a zero byte ends.
func (b *body) text() string {
	for i, c := range b.p {
		if c == 0 {
			return string(b.take(i + 1)[:i])
		}
	}
	b.bad = true
	b.p = nil
	return ""
}

// value is a length and as many bytes; nil is NULL.
func (b *body) value() []byte {
	n := b.int32()
	if n == -1 {
		return nil
	}
	v := b.take(n)
	if v == nil {
		return []byte{}
	}
	return v
}

// message makes one message out of its body.
func message(dst []byte, typ byte, write func([]byte) []byte) []byte {
	at := len(dst)
	dst = append(dst, typ, 0, 0, 0, 0)
	dst = write(dst)
	binary.BigEndian.PutUint32(dst[at+1:], uint32(len(dst)-at-1))
	return dst
}

func appendText(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] != 0 {
			dst = append(dst, s[i])
		}
	}
	return append(dst, 0)
}

// A report is the fields of an ErrorResponse or NoticeResponse that the gate writes itself.
type report struct {
	severity, code, message, detail, hint string
}

func (r report) encode(dst []byte, typ byte) []byte {
	return message(dst, typ, func(b []byte) []byte {
		for _, f := range []struct {
			kind byte
			text string
		}{{'S', r.severity}, {'V', r.severity}, {'C', r.code}, {'M', r.message}, {'D', r.detail}, {'H', r.hint}} {
			if f.text != "" {
				b = appendText(append(b, f.kind), f.text)
			}
		}
		return append(b, 0)
	})
}

func errorReport(severity, code, message, hint string) []byte {
	return report{severity: severity, code: code, message: message, hint: hint}.encode(nil, 'E')
}
