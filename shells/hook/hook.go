// Package hook is what the gate knows of a bash or zsh that asks before it runs a command: the rules that keep it asking,
// the order in which it has to ask, and the file that makes it ask. How questions travel is for the folders that start
// such shells: shells/local by an inherited descriptor, shells/remote through a forward on the host's loopback.
package hook

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"

	"github.com/sallyport-ssh/sallyport/shells"
)

// AnswerSize is the length of an answer, always: the shell reads it at once.
const AnswerSize = 256

const maxCalls = 64 // processes whose last command is remembered

// A Dialect is which shell asks.
type Dialect int

// The shells that can be made to ask.
const (
	Bash Dialect = iota
	Zsh
)

// A Shell is one guarded shell with all its subshells. It is safe for concurrent use.
type Shell struct {
	// Typed is set when an interrupt was typed or sent since the last line: a command may then go unasked.
	Typed atomic.Bool

	ask  shells.Asker
	fail func(error) // ends the session

	mu      sync.Mutex // all below
	dialect Dialect
	up      bool
	line    line
	calls   map[int]call
	refused bool // the rest of the main shell's line is refused too
}

// line is what the main shell is running.
type line struct {
	number string // in the history; "" before the first
	text   string
	expect bool // it begins with a simple command, which must be asked
}

// call is the last command that a process was let run.
type call struct {
	text  string
	depth int // of functions
}

// A TamperError is why a session is ended whose shell no longer asks.
type TamperError struct{ What string }

func (e *TamperError) Error() string {
	return "the shell's guard was tampered with (" + e.What + "); the session was ended"
}

// NewShell returns a shell of which nothing was heard yet. Fail is called, perhaps more than once, when it has to be
// ended.
func NewShell(d Dialect, ask shells.Asker, fail func(error)) *Shell {
	return &Shell{dialect: d, ask: ask, fail: fail, calls: map[int]call{}}
}

// Up is told that the guard stands and the shell may be typed into. It reports whether that is new.
func (s *Shell) Up() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.up
	s.up = true
	return first
}

// Speaks is told which shell came up, before anything is heard of it.
func (s *Shell) Speaks(d Dialect) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialect = d
}

// Refused is told that a question was answered with no.
func (s *Shell) Refused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = true
}

// Command decides on one simple command, of zsh on one sublist, of process pid; main says whether that is the shell
// itself. Depth is that of functions, in decimal; zsh gives none.
func (s *Shell) Command(ctx context.Context, pid int, main bool, depth, cwd, text string) error {
	s.mu.Lock()
	s.line.expect = false
	entered := s.entered(pid, depth, text)
	line, stop := s.line.text, s.refused && main && s.line.number != ""
	up, dialect := s.up, s.dialect
	s.mu.Unlock()
	switch {
	case !up:
		return errors.New("refused: the guard is not up")
	case stop:
		return errors.New("refused: it follows a refused command on the same line")
	case text == "":
		return errors.New("refused: the shell does not say what it is about to run")
	case dialect == Zsh:
		return s.zshCommand(ctx, cwd, line, text)
	case isHeader(text), entered:
		return nil // runs nothing: what it substitutes is asked
	}
	if err := checkCommand(text); err != nil {
		return err
	}
	if err := s.put(ctx, shells.Asked{Command: text, Cwd: cwd, Line: line}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) >= maxCalls {
		clear(s.calls)
	}
	n, _ := strconv.Atoi(depth)
	s.calls[pid] = call{text: text, depth: n}
	return nil
}

// entered tells whether this is bash's second word on a call of a function, said when it enters: the same
// text from the same process, next, one function deeper. The lock is held.
func (s *Shell) entered(pid int, depth, text string) bool {
	last, ok := s.calls[pid]
	delete(s.calls, pid)
	n, err := strconv.Atoi(depth)
	return ok && err == nil && last.text == text && n == last.depth+1
}

// put asks, and makes the end of ctx a refusal.
func (s *Shell) put(ctx context.Context, a shells.Asked) error {
	err := s.ask.Ask(ctx, a)
	if err == nil && ctx.Err() != nil {
		return errors.New("refused: withdrawn")
	}
	return err
}

// Line decides on what a line does besides simple commands. record is what `history 1` says of it.
func (s *Shell) Line(ctx context.Context, record string) error {
	number, text, _ := strings.Cut(strings.TrimLeft(record, " "), " ")
	number = strings.TrimSuffix(number, "*")
	text = strings.TrimSuffix(strings.TrimPrefix(text, " "), "\n")
	facts := readLine(text)
	s.mu.Lock()
	unseen := number == "" || number == s.line.number
	s.line = line{number: number, text: text, expect: facts.startsSimple}
	s.refused = false
	s.mu.Unlock()
	s.Typed.Store(false)
	if unseen {
		return errors.New("refused: the history does not hold this line, so the guard cannot see it")
	}
	if !facts.needsAsk {
		return nil
	}
	return s.put(ctx, shells.Asked{Command: text, Line: text})
}

// Prompt is the main shell's report that it waits for a line. Of bash: $-, $BASHOPTS and what `trap -p DEBUG` says. Of
// zsh: nothing, what `setopt` says, and what `trap` says.
func (s *Shell) Prompt(flags, opts, trap string) {
	s.mu.Lock()
	silent := s.line.expect && !s.refused && !s.Typed.Load()
	s.line.expect, s.refused = false, false
	dialect := s.dialect
	s.mu.Unlock()
	if dialect == Zsh {
		if err := zshPrompt(opts, trap); err != nil {
			s.fail(err)
		} else if silent {
			s.fail(&TamperError{"a command ran unasked"})
		}
		return
	}
	switch {
	case strings.TrimSpace(trap) != `trap -- '\__sallyport_guard' DEBUG`:
		s.fail(&TamperError{"its trap is gone"})
	case !strings.Contains(flags, "T") || !strings.Contains(":"+opts+":", ":extdebug:"):
		s.fail(&TamperError{"it was switched off"})
	case silent:
		s.fail(&TamperError{"a command ran unasked"})
	}
}

// Answer is the record that says err to the question called id, of 16 characters.
func Answer(id string, err error) []byte {
	verdict, text := byte('y'), ""
	if err != nil {
		verdict, text = 'n', OneLine(err.Error(), AnswerSize-20)
	}
	record := make([]byte, AnswerSize)
	for i := range record {
		record[i] = ' '
	}
	copy(record, id)
	record[16] = verdict
	copy(record[17:], text+"|")
	return record
}

// OneLine is s fit for the answer's field: printable ASCII, at most n bytes.
func OneLine(s string, n int) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '|':
			r = '/'
		case r > unicode.MaxASCII || r < ' ' || r == 0x7f:
			r = '?'
		}
		b.WriteRune(r)
	}
	if s = b.String(); len(s) > n {
		s = s[:n-3] + "..."
	}
	return s
}
