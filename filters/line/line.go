// Package line reads off a terminal what a shell in it is about to run, where the shell itself cannot be asked.
//
// It has two views: the keys that were sent, as an editor of one line would take them, and the row of the screen on
// which the cursor stands. [Reader.Keys] lets keys through up to one that would run something; [Reader.Look] then
// compares the views. Neither is proof. A program that draws can make the screen say anything, and a shell can be told
// to take keys for other things. So this is a guard against slips and not a wall: what it cannot make out it calls
// [Differ] or [Hidden], and a policy is to hold that.
//
// The package starts no goroutine and knows no clock: when the screen has come to rest is for its caller to say.
package line

import (
	"strings"

	"github.com/sallyport-ssh/sallyport/filters/command"
	"github.com/sallyport-ssh/sallyport/filters/term"
)

// Bounds of what is kept of a terminal.
const (
	MaxLine    = 64 << 10 // bytes of a line with all it continues, or of a paste with a newline in it
	maxPrompts = 8        // prompts remembered
)

// Seen says how well a line is known.
type Seen string

// From the best known to the least.
const (
	Nothing Seen = "nothing" // there is no line: Enter alone, an answer of one letter, or a full-screen program's key
	Both    Seen = "both"    // the screen shows what was typed
	Screen  Seen = "screen"  // only the screen shows it: recalled from history, completed, or edited by other keys
	Differ  Seen = "differ"  // the screen shows something else than what was typed, or cannot be read
	Hidden  Seen = "hidden"  // the screen shows nothing of what was typed: a password, or an echo that is off
)

// A View is a line as it stands before the key that runs it.
type View struct {
	Text   string // what would run; it begins with the lines that it continues
	Seen   Seen
	Why    string // of Differ and Hidden
	Prompt string // what stands before it on the screen
	Shown  string // the row as the screen has it
	Typed  int    // how many characters were typed, for Hidden
	// Unfinished: every shell goes on reading after this line, so nothing runs yet.
	Unfinished bool
}

// Same says whether nothing that matters has changed between two looks.
func (v View) Same(w View) bool { return v.Text == w.Text && v.Seen == w.Seen && v.Prompt == w.Prompt }

// A Kind says what a key would do that stopped [Reader.Keys].
type Kind int

const (
	Accept Kind = iota // it runs the line
	Keep               // it runs the line, and the next one does not begin empty (Ctrl-O, ESC a of zsh)
	Flush              // it sends what there is of the line, or the end of input (Ctrl-D)
	Expand             // it makes the shell work out $( ) and the like in the line (Tab)
	Edit               // it opens an editor and runs what that leaves (Ctrl-X Ctrl-E)
	Paste              // it is pasted text of several lines
)

// A Stop is a key that is not to be sent before it was decided on.
type Stop struct {
	Kind Kind
	Key  []byte
	// Literal says that the terminal takes the next byte as it is, whatever it is.
	Literal bool
}

// A Reader follows one terminal. It is not safe for concurrent use.
type Reader struct {
	screen *term.Screen
	key    keyState
	params []byte // of an escape sequence among the keys
	part   []byte // of a character among the keys

	// The line by its keys.
	text   []rune
	at     int    // the cursor in it
	known  bool   // every key since the line began is understood
	typed  int    // characters since then
	pasted []byte // from the first newline of a paste on: not sent yet
	long   bool   // a bound was hit

	// The line on the screen.
	began bool
	base  string // what the row held before the cursor when the first key came
	rest  string // and behind it: a prompt at the right margin
	// left says that the shell may not have begun an empty line: the last base and row are kept to tell.
	left              bool
	lastBase, lastRow string
	prompts           []string // which lines were accepted after, the newest last
	marks             int      // signs that end prompts in the first one; -1 before it
	parted            bool     // keys were sent while a full-screen program ended
	strange           bool     // a full-screen program came up while the line was edited

	carry     string // lines that this one continues
	carryBase string // the prompt of the first of them
	gaveUp    bool   // an interrupt was sent since

	alone   bool // a full-screen program runs, which may be left alone with its keys
	plain   bool // what runs neither interprets nor hides anything
	shadow  bool // what runs asks for a password and does nothing else
	secrets int  // passwords it was given
	wasAlt  bool
}

// New follows a terminal of this size.
func New(cols, rows int) *Reader {
	cols, rows = size(cols, rows)
	return &Reader{screen: term.New(cols, rows), known: true, marks: -1}
}

// Resize is told the terminal's new size.
func (r *Reader) Resize(cols, rows int) { r.screen.Resize(size(cols, rows)) }

// size is what programs take for the size of a terminal that does not know its own.
func size(cols, rows int) (int, int) {
	if cols <= 0 || rows <= 0 {
		return 80, 24
	}
	return cols, rows
}

// Output is told what the target writes, before anything of it is masked.
func (r *Reader) Output(p []byte) {
	r.screen.Write(p)
	alt := r.screen.Alternate()
	switch {
	case alt && !r.wasAlt && r.began && !r.alone:
		r.strange = true // nobody ran it: an editor that was opened from the line
	case !alt && r.wasAlt && r.alone && r.began:
		// Some of the keys were the program's, some may be the shell's.
		r.known, r.base, r.parted = false, "", true
	case !alt && r.wasAlt && !r.strange && !r.began:
		r.fresh()
	}
	r.wasAlt = alt
}

// fresh begins a line that is empty as far as the keys tell.
func (r *Reader) fresh() {
	r.text, r.at, r.known, r.typed, r.began = r.text[:0], 0, true, 0, false
	r.long, r.strange, r.parted, r.pasted = false, false, false, nil
}

// Rested is told that the screen has come to rest since the last key. What was typed into a full-screen program that
// has ended is then no part of the next line.
func (r *Reader) Rested() {
	if r.parted && !r.screen.Alternate() {
		r.fresh()
	}
}

// foreign says whether keys go to a full-screen program that was decided on.
func (r *Reader) foreign() bool { return r.alone && r.screen.Alternate() }

// Accepted is told that the key s is now sent, for the line v of which facts were found; facts may be nil for a line
// that was not decided on.
func (r *Reader) Accepted(s Stop, v View, facts *command.Facts) {
	if facts != nil {
		r.Runs(facts)
	}
	switch s.Kind {
	case Flush, Expand:
		if s.Kind == Expand {
			r.known = false
		}
		return
	case Paste:
		r.insertPaste()
		return
	}
	if v.Prompt != "" && (v.Seen == Both || v.Seen == Screen) {
		r.learn(v.Prompt)
	}
	if v.Unfinished && facts == nil {
		if r.carry == "" {
			r.carryBase = v.Prompt
		}
		r.carry = v.Text + "\n"
	} else if v.Seen != Nothing || facts != nil {
		r.carry = ""
	}
	r.left, r.gaveUp = s.Kind == Keep && v.Seen != Nothing, false
	r.lastBase, r.lastRow = r.base, ""
	if r.left {
		r.lastBase = v.Prompt
	}
	r.fresh()
}

// Runs is told what the terminal runs now. A session that begins with a program and not with a shell's prompt tells
// it here.
func (r *Reader) Runs(f *command.Facts) {
	r.secrets = 0
	if strings.TrimSpace(f.Text) == "fg" { // what was stopped goes on
		r.plain, r.shadow = false, false
		return
	}
	r.alone, r.plain, r.shadow = fullScreen(f), !f.Opaque && !f.Classes.Has(command.Interpreter), asksSecret(f)
}

// Secret is told that a password was sent.
func (r *Reader) Secret() { r.secrets++ }

// Interrupted is told that the line was given up: an interrupt was sent. Whether the shell has done so the next look
// tells.
func (r *Reader) Interrupted() {
	if len(r.text) > 0 || !r.known {
		r.lastBase, r.lastRow = r.base, r.row()
		if r.known { // what was typed may not be shown yet
			r.lastRow = strings.TrimRight(r.base+string(r.text), " ")
		}
	}
	r.gaveUp = true
	r.fresh()
}

// learn remembers a prompt.
func (r *Reader) learn(p string) {
	for i, q := range r.prompts {
		if p == q {
			r.prompts = append(append(r.prompts[:i:i], r.prompts[i+1:]...), p)
			return
		}
	}
	if r.prompts = append(r.prompts, p); len(r.prompts) > maxPrompts {
		r.prompts = r.prompts[1:]
	}
}
