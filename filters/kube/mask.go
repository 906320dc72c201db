package kube

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport-ssh/sallyport/filters/mask"
)

// hiddenData stands for a value of a Secret's data, which clients decode: eight stars in base64. Neither tells how long the
// value was.
var (
	hiddenData   = []byte(`"KioqKioqKio="`)
	hiddenString = []byte(`"********"`)
)

// lastApplied is where kubectl apply keeps a whole object as text.
const lastApplied = `"kubectl.kubernetes.io/last-applied-configuration"`

// A Masker masks the answers to requests. It is not safe for concurrent use.
type Masker struct {
	stream  *mask.Stream // masks, and tells hidden
	prober  *mask.Stream // tells nobody
	finder  *mask.Stream // tells where to look
	first   int64        // where it found something first; -1: nowhere
	hidden  func(detector string)
	secrets bool            // the answer is about Secrets
	names   map[string]bool // whether a name announces a secret
	inside  func() *Masker  // makes inner
	inner   *Masker         // for objects that stand in strings; nil until there is one
	group   int             // bytes that are looked at together
	changed bool            // something was masked
	text
	buf []byte // scratch: what the engine is shown
	out []byte // scratch: what it made of it
}

// together is how many bytes of members are looked at in one go. Most hold nothing, and one go is much cheaper than one
// for each; where there is something, what follows it is looked at once more.
const together = 2 << 10

// maxNames bounds the names that are remembered.
const maxNames = 4 << 10

// Masker returns what masks the answer to r with e. hidden, which may be nil, is told the detector of each value; it is
// "secret" for those of Secrets.
func (r *Request) Masker(e *mask.Engine, o mask.StreamOptions, hidden func(detector string)) *Masker {
	if hidden == nil {
		hidden = func(string) {}
	}
	m := &Masker{hidden: hidden, secrets: r.Group == "" && r.Resource == "secrets", names: map[string]bool{}, group: together}
	o.OnHit = nil
	m.prober = e.Stream(o)
	o.OnHit = func(h mask.Hit) {
		if m.first < 0 {
			m.first = h.Offset
		}
	}
	m.finder = e.Stream(o)
	o.OnHit = func(h mask.Hit) { hidden(h.Detector) }
	m.stream = e.Stream(o)
	m.inside = func() *Masker { return r.Masker(e, o, hidden) }
	return m
}

// JSON copies the JSON values of src to dst, masked. What has come is written before more is waited for, so that watches stay
// live; but for data of an object that may turn out to be a Secret. It returns nil at the end of src; an answer that is not
// JSON is an error, and nothing after that point is copied.
func (m *Masker) JSON(dst io.Writer, src io.Reader) error {
	m.begin()
	m.changed = false
	for {
		end, err := m.fill(src)
		if err != nil {
			return err
		}
		bad := m.read(end)
		if err := m.flush(dst); err != nil {
			return err
		}
		switch {
		case bad != nil:
			return bad
		case end && (m.pos < len(m.b) || len(m.frames) > 0):
			return errCut
		case end:
			return nil
		}
	}
}

// scalar says of a member's value or an element, neither object nor array, whether it is hidden whole. Most are left to
// examine.
func (m *Masker) scalar(t *token, w word, f *frame) {
	v := m.b[t.value:t.to]
	switch {
	case f.hide != nil:
		m.hide(t, f.hide)
	case v[0] != '"':
	case !f.object:
		m.argument(t, f, v)
	case w == wordKind:
		f.known, f.secret = true, string(v) == `"Secret"`
		m.resolve(len(m.frames), f.secret)
	case w == wordName:
		f.prev = append(f.prev[:0], v...)
	case w == wordValue && len(f.prev) > 2 && len(v) > 2 && m.telling(f.prev[1:len(f.prev)-1], '='):
		m.hide(t, hiddenString) // an environment variable, whose name is the member before
	case w == wordApplied:
		if !m.nested(t, v) {
			m.hide(t, hiddenString)
		}
	case len(v) > 4 && v[1] == '{' && v[2] == '\\' && v[3] == '"':
		m.nested(t, v)
	}
}

// argument looks at an element of an array together with a flag before it: --password, then the password.
func (m *Masker) argument(t *token, f *frame, v []byte) {
	if flag := f.prev; len(flag) > 2 && len(v) > 2 && bytes.IndexByte(flag, '=') < 0 && m.telling(flag[1:len(flag)-1], ' ') {
		f.prev = f.prev[:0]
		m.hide(t, hiddenString)
		return
	}
	f.prev = f.prev[:0]
	if v[1] == '-' {
		f.prev = append(f.prev, v...)
	}
}

// hide puts what in the place of a value, unless there is none.
func (m *Masker) hide(t *token, what []byte) {
	if t.value < 0 || m.b[t.value] == 'n' {
		return
	}
	if t.shown == nil {
		m.hidden("secret")
	}
	t.shown, m.changed = what, true
}

// probe is no secret, and looks like one.
const probe = "Xk9fjQ2vLp7wZt4b"

// telling says whether name announces a secret, which is when the engine hides a value that follows it.
func (m *Masker) telling(name []byte, between byte) bool {
	if known, ok := m.names[string(name)]; ok {
		return known
	}
	m.buf = append(append(append(m.buf[:0], name...), between), probe...)
	m.out = m.prober.Close(m.prober.Append(m.out[:0], m.buf))
	tells := !bytes.Equal(m.out, m.buf)
	if len(m.names) < maxNames && len(name) < 256 {
		m.names[string(name)] = tells
	}
	return tells
}

// nested masks an object that stands in a string. It reports false if there is none.
func (m *Masker) nested(t *token, v []byte) bool {
	text, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return false
	}
	if m.inner == nil {
		m.inner = m.inside()
		m.inner.names = m.names
	}
	var b bytes.Buffer
	if err := m.inner.JSON(&b, bytes.NewReader(text)); err != nil {
		return false
	}
	t.looked = true
	if !m.inner.changed {
		return true
	}
	out, err := jsontext.AppendQuote(nil, b.Bytes())
	if err != nil {
		return false
	}
	t.shown, m.changed = out, true
	return true
}

// examine masks what the engine finds in tokens: in their names, and in their values together with the name, for
// "password" says much of what follows. Each begins a line of its own.
func (m *Masker) examine(tokens []token) {
	for i := 0; i < len(tokens); {
		if tokens[i].escaped {
			m.mask(&tokens[i])
			i++
			continue
		}
		n := m.gather(tokens, i)
		m.first = -1
		m.out = m.finder.Close(m.finder.Append(m.out[:0], m.buf))
		if m.first < 0 {
			i = n
			continue
		}
		for n--; n > i && int64(tokens[n].line) > m.first; n-- {
		}
		m.mask(&tokens[n])
		i = n + 1
	}
}

// gather puts tokens from i on into m.buf, and returns the first that is not there.
func (m *Masker) gather(tokens []token, i int) int {
	m.buf = m.buf[:0]
	for ; i < len(tokens) && len(m.buf) < m.group && !tokens[i].escaped; i++ {
		t := &tokens[i]
		t.line = len(m.buf)
		m.buf = append(append(m.buf, m.b[t.from:t.seen()]...), '\n')
	}
	return i
}

// mask masks one token.
func (m *Masker) mask(t *token) {
	name := m.b[t.from:t.name]
	if len(name) > 0 {
		if masked, ok := m.look(name, nil); ok {
			t.renamed, m.changed = masked, true
		}
	}
	if t.seen() == t.name {
		return
	}
	if masked, ok := m.look(m.b[t.value:t.to], name); ok {
		t.shown, m.changed = masked, true
	}
}

// look masks v, before which name stands, and reports whether anything was. A string with escapes is looked at once more
// without them.
func (m *Masker) look(v, name []byte) (masked []byte, ok bool) {
	m.buf = m.buf[:0]
	if len(name) > 0 {
		m.buf = append(append(m.buf, name...), ':')
	}
	n := len(m.buf)
	m.buf = append(m.buf, v...)
	if out, hit := m.run(n); hit {
		v, ok = bytes.Clone(out), true
	}
	if v[0] != '"' || bytes.IndexByte(v, '\\') < 0 {
		return v, ok
	}
	text, err := jsontext.AppendUnquote(m.buf[:0], v)
	m.buf = text
	if err != nil {
		return v, ok
	}
	if out, hit := m.run(0); hit {
		if q, err := jsontext.AppendQuote(nil, out); err == nil {
			return q, true
		}
	}
	return v, ok
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

var (
	errSyntax = errors.New("the answer is not JSON")
	errCut    = errors.New("the answer is not JSON: it ends too early")
	errLarge  = errors.New("the answer holds a string that is too large to be looked at")
	errDeep   = errors.New("the answer is nested too deep")
)
