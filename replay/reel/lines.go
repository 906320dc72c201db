package reel

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sallyport-ssh/sallyport/filters/term"
)

// A Line is a line of text that was on the screen, and when it was first seen whole.
type Line struct {
	At   time.Duration
	Text string
}

// A reader of the screen tells every line that was on it: as it scrolls off the top, before it is erased, and
// where the output pauses. Rows that were wrapped are one line. What was told already is told again only after
// it has changed.
type lineReader struct {
	screen *term.Screen
	tell   func(Line)
	at     time.Duration
	joined []byte // a line whose end is still on the screen
}

// settleAfter is how long output has to pause for what is on the screen to count as seen.
const settleAfter = 200 * time.Millisecond

// maxLine bounds a line, in bytes; what is longer is told in pieces.
const maxLine = 4096

func newLineReader(s *term.Screen, tell func(Line)) *lineReader {
	l := &lineReader{screen: s, tell: tell}
	s.Clean()
	s.OnLeaving(func(y int) { l.row(y) })
	return l
}

// output draws text, which was put out at this time.
func (l *lineReader) output(at time.Duration, text string) {
	if at-l.at >= settleAfter {
		l.settle()
	}
	l.at = at
	for {
		i, n := sequence(text)
		if i < 0 {
			break
		}
		l.write(text[:i])
		erases := l.erases(text[i : i+n])
		if erases {
			l.settle()
		}
		l.write(text[i : i+n])
		if erases { // what comes back with the main screen was told before
			l.screen.Clean()
		}
		text = text[i+n:]
	}
	l.write(text)
}

func (l *lineReader) write(text string) { l.screen.Write([]byte(text)) }

// sequence finds the first escape sequence that may erase all of the screen, or -1.
func sequence(text string) (start, length int) {
	for from := 0; ; {
		i := strings.IndexByte(text[from:], 0x1b)
		if i < 0 || from+i+1 >= len(text) {
			return -1, 0
		}
		i += from
		from = i + 1
		if text[i+1] == 'c' {
			return i, 2
		}
		if text[i+1] != '[' {
			continue
		}
		end := i + 2
		for end < len(text) && text[end] < 0x40 {
			end++
		}
		if end < len(text) && strings.IndexByte("Jhl", text[end]) >= 0 {
			return i, end + 1 - i
		}
	}
}

// erases tells whether a sequence would take away what is on the screen: a reset, the alternate screen and back,
// and erasing all. Erasing what is below the cursor is what line editors do all the time.
func (l *lineReader) erases(seq string) bool {
	last, arg := seq[len(seq)-1], strings.Trim(seq[1:len(seq)-1], "[?")
	switch {
	case last == 'c':
		return true
	case last != 'J':
		return arg == "47" || arg == "1047" || arg == "1049"
	case arg == "" || arg == "0":
		x, y, _ := l.screen.Cursor()
		return x == 0 && y == 0
	}
	return true
}

func (l *lineReader) resize(cols, rows uint32) {
	l.settle()
	l.screen.Resize(int(cols), int(rows))
	l.screen.Clean()
}

// row takes a row that leaves the screen.
func (l *lineReader) row(y int) {
	if !l.screen.Dirty(y) && len(l.joined) == 0 {
		return
	}
	l.add(y)
	if !l.screen.Wrapped(y) || len(l.joined) > maxLine {
		l.flush()
	}
}

// add takes the text of a row, with the blanks at its end, which a wrapped line goes on behind.
func (l *lineReader) add(y int) {
	for _, c := range l.screen.Cells(y) {
		if c.Rune != 0 {
			l.joined = utf8.AppendRune(l.joined, c.Rune)
		}
	}
}

func (l *lineReader) flush() {
	if text := strings.TrimRight(string(l.joined), " "); text != "" {
		l.tell(Line{l.at, text})
	}
	l.joined = l.joined[:0]
}

// settle tells what is on the screen and was not told.
func (l *lineReader) settle() {
	if !l.screen.Changed() {
		return
	}
	_, rows := l.screen.Size()
	for y := 0; y < rows; {
		end, dirty := y, len(l.joined) > 0
		for ; end < rows; end++ {
			dirty = dirty || l.screen.Dirty(end)
			if !l.screen.Wrapped(end) {
				break
			}
		}
		end = min(end, rows-1)
		for ; y <= end; y++ {
			if dirty {
				l.add(y)
			}
		}
		if len(l.joined) > 0 {
			l.flush()
		}
	}
	l.screen.Clean()
}

// pipedIn tells the lines of what was piped into a session without a terminal, each with a sign before it.
func (l *lineReader) pipedIn(at time.Duration, text string) {
	l.settle()
	for line := range strings.Lines(text) {
		if line = strings.Map(drawable, line); line != "" {
			l.tell(Line{at, "< " + line[:min(len(line), maxLine)]})
		}
	}
}

func drawable(r rune) rune {
	if r < 0x20 || r >= 0x7f && r < 0xa0 {
		return -1
	}
	return r
}
