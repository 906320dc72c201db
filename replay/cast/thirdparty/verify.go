// Package thirdparty is a second verifier of recordings, as somebody would write it who has FORMAT.md and the
// standard library, and neither our code nor a reason to trust it. Tests hold it and the first one against each
// other over every kind of damage; where they differ, one of them or the page is wrong.
package thirdparty

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// Damage is where a recording stops being what was recorded.
type Damage struct {
	Offset int64 // of the first byte that is not vouched for, or is wrong
	Why    string
}

func (d *Damage) Error() string { return fmt.Sprintf("byte %d: %s", d.Offset, d.Why) }

// Unsealed is the state of a recording that ends without a seal.
const Unsealed = "unsealed"

// checkpoint is a line of the chain.
type checkpoint struct {
	K        string   `json:"k"`
	V        int      `json:"v"`
	Session  string   `json:"session"`
	Seq      uint64   `json:"seq"`
	Off      int64    `json:"off"`
	Time     string   `json:"time"`
	Sum      string   `json:"sum"`
	Prev     string   `json:"prev"`
	Recovery bool     `json:"recovery"`
	Chain    [][]byte `json:"chain"` // encoding/json takes padded base64, as the page says
	Seal     *struct {
		State  string `json:"state"`
		Events uint64 `json:"events"`
		Bytes  uint64 `json:"bytes"`
		Ops    uint64 `json:"ops"`
	} `json:"seal"`
}

type verifier struct {
	roots   *x509.CertPool
	session string

	off      int64 // of the line at hand
	stretch  int64 // behind the last chain line
	hash     interface{ Sum([]byte) []byte }
	write    func([]byte)
	reset    func()
	prev     [32]byte
	seq      uint64
	key      ed25519.PublicKey
	state    string
	events   uint64
	bytes    uint64
	ops      uint64
	next     *next
	pending  map[string][]byte
	lines    int
	sealLine [32]byte
}

type next struct {
	Stream string  `json:"s"`
	Bytes  *string `json:"b"`
}

// Verify reads a recording of session and returns how it ended: complete, recovered, truncated or Unsealed, and
// the SHA-256 of the seal's line in hexadecimal. A *Damage says that it is not what was recorded.
func Verify(r io.Reader, roots *x509.CertPool, session string) (state, seal string, err error) {
	h := sha256.New()
	v := &verifier{
		roots: roots, session: session, hash: h, write: func(b []byte) { h.Write(b) }, reset: h.Reset, state: Unsealed, pending: map[string][]byte{},
	}
	lines := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case err == io.EOF && len(line) == 0:
			return v.state, hex.EncodeToString(v.sealLine[:]), nil
		case err == io.EOF:
			if v.state != Unsealed {
				return "", "", v.bad("bytes follow the seal")
			}
			return v.state, "", nil // a line that nobody ended
		case err != nil:
			return "", "", v.bad("a line of more than 1 MiB: " + err.Error())
		}
		if err := v.line(line); err != nil {
			return "", "", err
		}
		v.off += int64(len(line))
		if chained(line) {
			v.stretch = v.off
		}
	}
}

func (v *verifier) bad(why string) error { return &Damage{v.off, why} }

// stretched is damage that a hash found: somewhere since the last line of the chain.
func (v *verifier) stretched(why string) error { return &Damage{v.stretch, why} }

func chained(line []byte) bool {
	return bytes.HasPrefix(line, []byte(`#sp {"k":"check",`)) || bytes.HasPrefix(line, []byte(`#sp {"k":"seal",`))
}

func (v *verifier) line(line []byte) error {
	v.lines++
	if v.state != Unsealed {
		return v.bad("bytes follow the seal")
	}
	if chained(line) {
		return v.chain(line)
	}
	v.write(line)
	if why := v.form(line); why != "" {
		return v.bad(why)
	}
	return nil
}

var interval = regexp.MustCompile(`^\[(0|[1-9][0-9]*)(\.[0-9]{1,6})?, "`)

// form checks a line that is not of the chain, and counts it.
func (v *verifier) form(line []byte) string {
	switch {
	case !utf8.Valid(line):
		return "no UTF-8"
	case v.lines == 1:
		var h struct{ Version int }
		if json.Unmarshal(line, &h) != nil || h.Version != 3 {
			return "no header of an asciicast v3"
		}
		return ""
	case line[0] == '[':
		return v.event(line)
	case v.next != nil:
		return "a line between an event and what was said about it"
	case bytes.HasPrefix(line, []byte(`#sp {"k":"`)):
		return v.comment(line[4:])
	}
	return "a line that no recorder of ours wrote"
}

func (v *verifier) event(line []byte) string {
	var e []json.RawMessage
	var code, text string
	if !interval.Match(line) || json.Unmarshal(line, &e) != nil || len(e) != 3 || json.Unmarshal(e[1], &code) != nil || json.Unmarshal(e[2], &text) != nil {
		return "no event"
	}
	if len(code) != 1 || !strings.Contains("oirmx", code) {
		return "an event of no known code"
	}
	v.events++
	said := v.next
	v.next = nil
	if code != "o" && code != "i" {
		if said != nil {
			return "something said about an event that has no stream"
		}
		return ""
	}
	stream, n := code, len(text)
	if said != nil && said.Stream != "" {
		stream = said.Stream
	}
	if said != nil && said.Bytes != nil {
		restored, why := restore(text, *said.Bytes)
		if why != "" {
			return why
		}
		n = len(restored)
	}
	delete(v.pending, stream)
	if stream != "g" {
		v.bytes += uint64(n)
	}
	return ""
}

// restore gives back the exact bytes of an event.
func restore(text, encoded string) ([]byte, string) {
	lost, err := base64.RawStdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, "bytes that are no base64"
	}
	var out []byte
	for _, r := range text {
		if r != utf8.RuneError {
			out = utf8.AppendRune(out, r)
			continue
		}
		if len(lost) == 0 {
			return nil, "fewer bytes than were replaced"
		}
		if lost[0] == 0 {
			out = append(out, "\uFFFD"...)
		} else {
			out = append(out, lost[0])
		}
		lost = lost[1:]
	}
	if len(lost) > 0 {
		return nil, "more bytes than were replaced"
	}
	return out, ""
}

var kind = regexp.MustCompile(`^[a-z0-9_]{1,32}$`)

func (v *verifier) comment(object []byte) string {
	var c struct {
		K string           `json:"k"`
		T *json.Number     `json:"t"`
		D *json.RawMessage `json:"d"`
		next
	}
	if json.Unmarshal(object, &c) != nil || !kind.MatchString(c.K) {
		return "no comment of ours"
	}
	switch c.K {
	case "next":
		v.next = &c.next
	case "tail":
		if c.Bytes == nil || len(c.Stream) != 1 || !strings.Contains("oei", c.Stream) {
			return "no beginning of a rune"
		}
		b, err := base64.RawStdEncoding.Strict().DecodeString(*c.Bytes)
		if err != nil {
			return "bytes that are no base64"
		}
		v.pending[c.Stream] = b
	default:
		if c.T == nil || c.D == nil {
			return "a note without time or fact"
		}
		if c.K == "op" {
			v.ops++
		}
	}
	return ""
}

// tail is what is cut off a chain line before it is verified: ,"sig":"<86>"} and the newline.
const tail = 97

func (v *verifier) chain(line []byte) error {
	if v.next != nil {
		return v.bad("a checkpoint between an event and what was said about it")
	}
	if len(line) < tail+20 || !bytes.HasPrefix(line[len(line)-tail:], []byte(`,"sig":"`)) || !bytes.HasSuffix(line, []byte("\"}\n")) {
		return v.bad("no signature")
	}
	body := line[:len(line)-tail]
	sig, err := base64.RawStdEncoding.Strict().DecodeString(string(line[len(line)-tail+8 : len(line)-3]))
	if err != nil {
		return v.bad("no signature")
	}
	var c checkpoint
	if err := json.Unmarshal(append(bytes.Clone(body[4:]), '}'), &c); err != nil {
		return v.bad("no checkpoint: " + err.Error())
	}
	sum := v.hash.Sum(nil)
	switch {
	case c.V != 1, c.Seq != v.seq, c.Off != v.off, c.Session != v.session:
		return v.stretched("a checkpoint that belongs elsewhere")
	case c.Sum != hex.EncodeToString(sum):
		return v.stretched("not what was written")
	case c.Prev != hex.EncodeToString(v.prev[:]):
		return v.stretched("does not follow the checkpoint before")
	}
	key, why := v.signer(&c)
	if why != "" {
		return v.stretched(why)
	}
	if !ed25519.Verify(key, append([]byte("sallyport-cast-v1\n"), body...), sig) {
		return v.stretched("the signature is wrong")
	}
	if v.seq == 0 {
		v.key = key
	}
	v.seq++
	v.prev = sha256.Sum256(line)
	v.reset()
	if c.K == "seal" {
		return v.seal(&c)
	}
	return nil
}

// signer is the key that must have signed c.
func (v *verifier) signer(c *checkpoint) (ed25519.PublicKey, string) {
	brings := c.Chain != nil
	switch {
	case c.Seq == 0 && (!brings || c.Recovery), c.Recovery && (c.K != "seal" || !brings), c.Seq > 0 && brings && !c.Recovery:
		return nil, "a key where none belongs, or none where one does"
	case !brings:
		return v.key, ""
	}
	at, err := time.Parse(time.RFC3339Nano, c.Time)
	if err != nil {
		return nil, "no time"
	}
	leaf, err := x509.ParseCertificate(c.Chain[0])
	if err != nil {
		return nil, "no certificate"
	}
	between := x509.NewCertPool()
	for _, der := range c.Chain[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, "no certificate"
		}
		between.AddCert(cert)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: v.roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return nil, err.Error()
	}
	signing := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 36}
	key, ok := leaf.PublicKey.(ed25519.PublicKey)
	if !ok || leaf.IsCA || len(leaf.ExtKeyUsage) > 0 || len(leaf.UnknownExtKeyUsage) != 1 || !leaf.UnknownExtKeyUsage[0].Equal(signing) ||
		len(leaf.URIs) != 1 || leaf.URIs[0].String() != "sallyport:session:"+v.session {
		return nil, "a certificate that is not for recording this session"
	}
	return key, ""
}

func (v *verifier) seal(c *checkpoint) error {
	s := c.Seal
	if s == nil {
		return v.bad("a seal that says nothing")
	}
	pending := uint64(0)
	for _, b := range v.pending {
		pending += uint64(len(b))
	}
	if s.Events != v.events || s.Ops != v.ops || s.Bytes != v.bytes+pending {
		return v.bad("the seal counts otherwise")
	}
	switch {
	case s.State == "complete" && !c.Recovery, s.State == "recovered" && c.Recovery, s.State == "truncated":
		v.state, v.sealLine = s.State, v.prev
		return nil
	}
	return v.bad("the seal says what its key cannot")
}
