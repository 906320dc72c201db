package sshd

import (
	"errors"
	"io"
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/sallyport-ssh/sallyport/filters/mask"
)

// A kept is input on its way into the record.
type kept struct {
	s *session

	mu     sync.Mutex
	mask   *mask.Stream
	closed bool // the session is about to be sealed
}

func (s *session) newKept() kept {
	return kept{s: s, mask: s.c.srv.o.Masks.Stream(mask.StreamOptions{Style: s.maskStyle(), OnHit: s.countMasked})}
}

// put records p, masked. The lock is held.
func (k *kept) put(p []byte) error {
	if k.closed {
		return nil
	}
	return k.record(k.mask.Append(nil, p))
}

func (k *kept) record(masked []byte) error {
	if len(masked) == 0 {
		return nil
	}
	return k.s.recorded(k.s.recording.Input(masked))
}

// note records a fact about what is not recorded. The lock is held.
func (k *kept) note(fact map[string]any) error {
	if k.closed {
		return nil
	}
	return k.s.recorded(k.s.recording.Note("input", fact))
}

// close records what the masker still holds. Nothing is recorded after that.
func (k *kept) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	k.closed = true
	return k.record(k.mask.Close(nil))
}

// endInput records what there is of input that came before the process ended.
func (s *session) endInput() error { return errors.Join(s.lines.finish(), s.piped.finish()) }

// A typed puts what is typed in a terminal into the record, where policy asks for that: line by line, when the line is
// about to be run, and of it only what the terminal shows. So a password that is typed without echo is never written
// down, and neither is what a full-screen program takes, which may ask for one.
type typed struct {
	kept
	secret func() bool // whether a program reads a line without echo at this moment; nil where that cannot be told

	keys   []byte // of the line under way, as they were sent
	hidden bool   // some of them were typed without echo
	long   bool   // there were too many of them
	told   bool   // that keys are not recorded, and none was since
}

// maxTyped bounds the keys of a line; more than that nobody typed.
const maxTyped = 16 << 10

// newTyped begins the record of what is typed for p.
func (s *session) newTyped(p any) *typed {
	t := &typed{kept: s.newKept()}
	if r, ok := p.(interface{ ReadsSecret() bool }); ok {
		t.secret = r.ReadsSecret
	}
	return t
}

// readsSecret says whether a line is read without echo.
func (t *typed) readsSecret() bool { return t != nil && t.secret != nil && t.secret() }

// sending takes keys of the line under way, before they are sent.
func (t *typed) sending(p []byte) {
	if t == nil || len(p) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hidden = t.hidden || t.readsSecret()
	if t.long = t.long || len(t.keys)+len(p) > maxTyped; t.long {
		t.keys = t.keys[:0]
		return
	}
	t.keys = append(t.keys, p...)
}

// line records the line under way with the key that ends it. Shown is what the screen has of it, and all says that it
// is all that was typed.
func (t *typed) line(shown string, all bool, key []byte) error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	keys, lost := t.keys, t.long
	hidden := t.hidden || t.long || t.readsSecret()
	t.keys, t.hidden, t.long = t.keys[:0], false, false
	switch {
	case hidden || shown == "" && !all:
		lost, keys = lost || len(keys) > 0, nil
	case !all:
		keys, lost = onlyShown(keys, shown)
	}
	keys = append(t.starred(keys, shown), key...)
	if err := t.put(keys); err != nil {
		return err
	}
	if !lost {
		t.told = false
		return nil
	}
	if t.told {
		return nil
	}
	t.told = true
	return t.note(map[string]any{"unseen": true, "why": "the terminal did not show what was typed"})
}

// starred makes stars of everything in a line in which a value would be masked that editing has cut into pieces among
// the keys. A value in one piece is left to the stream.
func (t *typed) starred(keys []byte, shown string) []byte {
	var plain strings.Builder
	edited := false
	eachKey(keys, func(k []byte, printable bool) {
		if printable {
			plain.Write(k)
		} else {
			edited = true
		}
	})
	if !edited || !t.finds(plain.String()) && !t.finds(shown) {
		return keys
	}
	t.s.countMasked(mask.Hit{})
	var out []byte
	eachKey(keys, func(k []byte, printable bool) {
		if printable {
			k = []byte("*")
		}
		out = append(out, k...)
	})
	return out
}

// finds says whether anything in text would be masked.
func (t *typed) finds(text string) bool { return t.s.maskText(text) != text }

// onlyShown leaves out of keys what is typed text and does not stand in shown.
func onlyShown(keys []byte, shown string) (out []byte, lost bool) {
	var run []byte
	flush := func() {
		if strings.Contains(shown, string(run)) {
			out = append(out, run...)
		} else {
			lost = true
		}
		run = run[:0]
	}
	eachKey(keys, func(k []byte, printable bool) {
		if printable {
			run = append(run, k...)
			return
		}
		flush()
		out = append(out, k...)
	})
	flush()
	return out, lost
}

// eachKey tells keys apart: characters, and what is none: control characters and the sequences that other keys send.
func eachKey(keys []byte, tell func(key []byte, printable bool)) {
	for len(keys) > 0 {
		n, printable := 1, false
		switch c := keys[0]; {
		case c == 0x1b && len(keys) > 2 && (keys[1] == '[' || keys[1] == 'O'):
			n = 2
			for n < len(keys) && keys[1] == '[' && keys[n] >= 0x20 && keys[n] < 0x40 {
				n++
			}
			n = min(n+1, len(keys))
		case c >= 0x20 && c != 0x7f:
			_, n = utf8.DecodeRune(keys)
			printable = true
		}
		tell(keys[:n], printable)
		keys = keys[n:]
	}
}

// maxStdin bounds how much of what is piped into a session is recorded.
const maxStdin = 4 << 20

// secretStdin finds commands that may read a password from their input.
var secretStdin = regexp.MustCompile(`\b(sudo|doas|su)\b|\bpass(word|phrase|in|out)?\b|\b(\w*passwd|kinit|cryptsetup|vault|gpg2?|openssl|ssh-add|age|wg|keyctl|read)\b|stdin`)

// A pipedInput records what is piped into a session that has no terminal, before the process gets it.
type pipedInput struct {
	kept
	to     *tally
	taken  int
	secret bool // it is not recorded: it may be a password
}

// newPiped records what is written to to, where policy asks for it.
func (s *session) newPiped(to io.Writer) *pipedInput {
	return &pipedInput{kept: s.newKept(), to: newTally(to), secret: secretStdin.MatchString(s.asked.command)}
}

func (w *pipedInput) Write(p []byte) (int, error) {
	if err := w.take(p); err != nil {
		w.s.cancel(err)
		return 0, err
	}
	return w.to.Write(p)
}

func (w *pipedInput) take(p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(len(p), maxStdin-w.taken)
	if w.secret || n == 0 {
		return nil
	}
	w.taken += n
	return w.put(p[:n])
}

// finish records what the masker still holds, and how much there was of what is not recorded.
func (w *pipedInput) finish() error {
	if w == nil {
		return nil
	}
	err := w.close()
	all := w.to.fact()
	if err != nil || all["bytes"] == int64(w.taken) {
		return err
	}
	fact := map[string]any{"recorded": w.taken, "all": all, "why": "longer than is recorded"}
	if w.secret {
		fact = map[string]any{"recorded": 0, "why": "the command may read a password"}
	}
	return w.s.recorded(w.s.recording.Note("input", fact))
}
