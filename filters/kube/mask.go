package kube

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport-ssh/sallyport/filters/mask"
)

// hiddenData stands for a value of a Secret's data, which clients decode: eight stars in base64. Neither tells how long the
// value was.
const (
	hiddenData   = `"KioqKioqKio="`
	hiddenString = `"********"`
)

// lastApplied is where kubectl apply keeps a whole object as text.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// A Masker masks the answers to requests. It is not safe for concurrent use.
type Masker struct {
	stream  *mask.Stream
	prober  *mask.Stream // tells nobody
	hidden  func(detector string)
	secrets bool // the answer is about Secrets
	frames  []frame
	buf     []byte // scratch: what the engine is shown
	out     []byte // scratch: what it made of it
}

// A frame is an object or array that is open.
type frame struct {
	object bool
	name   bool   // of an object: the next string is a member's name
	key    []byte // of an object: that name, with quotes
	prev   []byte // the string before in an array, or the value of the member "name"
	kind   bool   // the member "kind" was "Secret"
	data   string // what stands for every value in here, "" to look at them
}

// Masker returns what masks the answer to r with e. hidden, which may be nil, is told the detector of each value; it is
// "secret" for those of Secrets.
func (r *Request) Masker(e *mask.Engine, o mask.StreamOptions, hidden func(detector string)) *Masker {
	if hidden == nil {
		hidden = func(string) {}
	}
	o.OnHit = nil
	prober := e.Stream(o)
	o.OnHit = func(h mask.Hit) { hidden(h.Detector) }
	return &Masker{
		stream: e.Stream(o), prober: prober, hidden: hidden,
		secrets: r.Group == "" && r.Resource == "secrets",
	}
}

// JSON copies the JSON values of src to dst, masked. What is written is written at the end of each value at the latest, so
// that watches stay live. It returns nil at the end of src; an answer that is not JSON is an error, and nothing after that
// point is copied.
func (m *Masker) JSON(dst io.Writer, src io.Reader) error {
	in := jsontext.NewDecoder(src, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	out := jsontext.NewEncoder(dst, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true), jsontext.PreserveRawStrings(true))
	m.frames = m.frames[:0]
	for {
		if err := m.token(out, in); err != nil {
			var syntax *jsontext.SyntacticError
			switch {
			case err == io.EOF:
				return nil
			case errors.As(err, &syntax):
				return fmt.Errorf("the answer is not JSON: %w", errors.Unwrap(syntax)) // without the text around it
			}
			return err
		}
	}
}

// token copies one token.
func (m *Masker) token(out *jsontext.Encoder, in *jsontext.Decoder) error {
	switch in.PeekKind() {
	case '{', '[', '}', ']':
		t, err := in.ReadToken()
		if err != nil {
			return err
		}
		m.bracket(t.Kind())
		return out.WriteToken(t)
	}
	v, err := in.ReadValue()
	if err != nil {
		return err
	}
	if f := m.top(); f.object && f.name {
		f.name, f.key = false, append(f.key[:0], v...)
		return out.WriteValue(m.look("", v))
	}
	v = m.value(v)
	m.top().name = true
	return out.WriteValue(v)
}

// bracket opens or closes an object or array.
func (m *Masker) bracket(k jsontext.Kind) {
	if k == '}' || k == ']' {
		m.frames = m.frames[:len(m.frames)-1]
		m.top().name = true
		return
	}
	up := m.top()
	f := frame{object: k == '{', name: true, data: up.data}
	if up.object && f.data == "" && (m.secrets || up.kind) && !m.inMetadata() {
		switch string(up.key) {
		case `"data"`:
			f.data = hiddenData
		case `"stringData"`:
			f.data = hiddenString
		}
	}
	m.push(f)
}

// push reuses the buffers of what stood there before.
func (m *Masker) push(f frame) {
	if n := len(m.frames); n < cap(m.frames) {
		old := m.frames[:n+1][n]
		f.key, f.prev = old.key[:0], old.prev[:0]
	}
	m.frames = append(m.frames, f)
}

// top is the innermost frame; outside of all there is one that forgets.
func (m *Masker) top() *frame {
	if len(m.frames) == 0 {
		return &frame{}
	}
	return &m.frames[len(m.frames)-1]
}

func (m *Masker) inMetadata() bool {
	for i := range m.frames {
		if string(m.frames[i].key) == `"metadata"` {
			return true
		}
	}
	return false
}

// value masks a member's value or an element, neither object nor array.
func (m *Masker) value(v jsontext.Value) jsontext.Value {
	f := m.top()
	switch {
	case f.data != "" && v.Kind() != 'n':
		m.hidden("secret")
		return jsontext.Value(f.data)
	case v.Kind() != '"':
		return m.look(string(f.key)+":", v)
	case !f.object:
		return m.element(f, v)
	}
	switch string(f.key) {
	case `"kind"`:
		f.kind = string(v) == `"Secret"`
	case `"name"`:
		f.prev = append(f.prev[:0], v...)
	case `"value"`:
		return m.variable(f, v)
	case `"` + lastApplied + `"`:
		return m.applied(v)
	}
	return m.member(f.key, v)
}

// member looks at a value together with its name: "password" says much of what follows.
func (m *Masker) member(key []byte, v jsontext.Value) jsontext.Value {
	m.buf = append(append(m.buf[:0], key...), ':')
	return m.lookAfter(len(m.buf), v)
}

// variable looks at an environment variable, whose name is the member before.
func (m *Masker) variable(f *frame, v jsontext.Value) jsontext.Value {
	if len(f.prev) > 2 && len(v) > 2 && m.telling(f.prev[1:len(f.prev)-1], '=') {
		return m.hide()
	}
	return m.member(f.key, v)
}

// element looks at an element of an array together with a flag before it: --password, then the password.
func (m *Masker) element(f *frame, v jsontext.Value) jsontext.Value {
	flag := f.prev
	if len(flag) > 2 && flag[1] == '-' && bytes.IndexByte(flag, '=') < 0 && len(v) > 2 && m.telling(flag[1:len(flag)-1], ' ') {
		f.prev = f.prev[:0]
		return m.hide()
	}
	f.prev = append(f.prev[:0], v...)
	return m.look("", v)
}

func (m *Masker) hide() jsontext.Value {
	m.hidden("secret")
	return jsontext.Value(hiddenString)
}

// probe is no secret, and looks like one.
const probe = "Xk9fjQ2vLp7wZt4b"

// telling says whether name announces a secret, which is when the engine hides a value that follows it.
func (m *Masker) telling(name []byte, between byte) bool {
	m.buf = append(append(append(m.buf[:0], name...), between), probe...)
	m.out = m.prober.Close(m.prober.Append(m.out[:0], m.buf))
	return !bytes.Equal(m.out, m.buf)
}

// applied masks an object that stands in a string.
func (m *Masker) applied(v jsontext.Value) jsontext.Value {
	text, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return m.hide()
	}
	inner := &Masker{stream: m.stream, prober: m.prober, hidden: m.hidden, secrets: m.secrets}
	var b bytes.Buffer
	if err := inner.JSON(&b, bytes.NewReader(text)); err != nil {
		return m.hide()
	}
	out, err := jsontext.AppendQuote(nil, b.Bytes())
	if err != nil {
		return m.hide()
	}
	return out
}

// look masks v, to which prefix is what stands before it.
func (m *Masker) look(prefix string, v jsontext.Value) jsontext.Value {
	m.buf = append(m.buf[:0], prefix...)
	return m.lookAfter(len(m.buf), v)
}

// lookAfter masks v, when m.buf[:n] is what stands before it. A string with escapes is looked at once more without them.
func (m *Masker) lookAfter(n int, v jsontext.Value) jsontext.Value {
	if v.Kind() == 'n' || v.Kind() == 't' || v.Kind() == 'f' {
		return v
	}
	m.buf = append(m.buf, v...)
	if masked, hit := m.run(n); hit {
		v = bytes.Clone(masked)
	}
	if v.Kind() != '"' || bytes.IndexByte(v, '\\') < 0 {
		return v
	}
	text, err := jsontext.AppendUnquote(m.buf[:0], v)
	m.buf = text
	if err != nil {
		return v
	}
	if masked, hit := m.run(0); hit {
		if q, err := jsontext.AppendQuote(nil, masked); err == nil {
			return q
		}
	}
	return v
}

// run masks m.buf and returns what became of m.buf[n:], and whether that is something else. The result is good until the
// next run.
func (m *Masker) run(n int) ([]byte, bool) {
	m.out = m.stream.Close(m.stream.Append(m.out[:0], m.buf))
	if len(m.out) < n || bytes.Equal(m.out, m.buf) || !bytes.Equal(m.out[:n], m.buf[:n]) {
		return m.out, false
	}
	return m.out[n:], true
}
