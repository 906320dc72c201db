package mask

import "strings"

// A verdict is what a detector says of one anchor. It must be monotone, which is what makes a stream
// independent of its chunking: bytes that arrive later turn more into yes or no, and never change a yes
// or a no. A detector that has to look at a byte it does not have says more, unless the window is final.
type verdict uint8

const (
	no verdict = iota
	yes
	more
)

// A match is a verdict and where it holds, as indices into the window.
type match struct {
	verdict verdict
	// from is the first byte of the value, to the first after it (yes).
	from, to int
	// show is the end of the public prefix: bytes before it are shown whatever the verdict will be. Style
	// Token has no public prefix.
	show int
	// warm is where the bytes begin that Expire masks while the verdict is more; those between show and warm
	// wait, and are then shown. Never less than show.
	warm int
	// runs says that the value goes on after to, for the detector's run to follow.
	runs bool
	// number says that the value is a bare JSON number, which stays one.
	number bool
	// lines says that the value has several lines; their ends and blanks stay.
	lines bool
}

// more makes the match of an undecided candidate.
func undecided(from, show, warm int) match {
	return match{verdict: more, from: from, show: show, warm: max(show, warm)}
}

// found makes the match of a value whose bytes from show on are masked.
func found(from, show, to int) match {
	return match{verdict: yes, from: from, show: min(show, to), to: to}
}

// A window is what detectors look at: plain bytes, of which some before the anchor are context.
type window struct {
	b []byte
	// floor is the end of the last match. Values start at or after it.
	floor int
	// final says that nothing follows b.
	final bool
	// table is the one that the stream is in.
	table *table
	// ahead says that an anchor before this one is undecided.
	ahead bool
}

// lookback is how far before its anchor a detector may look. The stream always has this much context,
// however it was cut.
const lookback = 160

// A detector knows one kind of value.
type detector struct {
	name    string
	version int
	id      int // index in the engine, set when it is installed
	// anchors are where find is asked. Every byte of the value before an anchor belongs to the public prefix
	// or to the last word, which streams hold anyway.
	anchors []anchor
	// find looks at the anchor that starts at w.b[i]. Two bytes are there, the others may not be.
	find func(w *window, i int) match
	// run follows a value that was found with runs: it returns the end of what certainly belongs to it from i
	// on, and whether the value ends there. n is the number of bytes it has followed so far.
	run func(w *window, i, n int) (to int, done bool)
	// keep are separators inside the value that stay.
	keep *[256]bool
	// last4 says that style Last4 shows the end of the value.
	last4 bool
	// norm appends what equal values have in common; nil: the value itself.
	norm func(dst, value []byte) []byte
}

// Byte classes.
const (
	clDigit  = 1 << iota
	clUpper  // A-Z
	clLower  // a-z
	clHex    // 0-9a-fA-F
	clB64URL // A-Za-z0-9_-
	clB64    // A-Za-z0-9+/=
	clLocal  // of the local part of an e-mail address
	clSpace  // blank, tab, CR, LF
)

const (
	clAlpha = clUpper | clLower
	clAlnum = clAlpha | clDigit
)

var class = func() (t [256]uint8) {
	set := func(bits uint8, s string) {
		for i := range len(s) {
			t[s[i]] |= bits
		}
	}
	set(clDigit, "0123456789")
	set(clUpper, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
	set(clLower, "abcdefghijklmnopqrstuvwxyz")
	set(clHex, "0123456789abcdefABCDEF")
	for c := range 256 {
		if t[c]&clAlnum != 0 {
			t[c] |= clB64URL | clB64 | clLocal
		}
	}
	set(clB64URL, "-_")
	set(clB64, "+/=")
	set(clLocal, "._+-")
	set(clSpace, " \t\r\n")
	return t
}()

func is(c byte, bits uint8) bool { return class[c]&bits != 0 }

// isWord says whether c continues an identifier.
func isWord(c byte) bool { return class[c]&clAlnum != 0 || c == '_' }

// inWord says whether what starts at b[s] is the rest of a word. The letter of an escaped newline or tab, as in JSON
// and source, is none.
func inWord(b []byte, s int) bool { return isWord(b[s-1]) && !escapedBefore(b, s) }

// escapedBefore says whether \n, \r or \t stands before b[s].
func escapedBefore(b []byte, s int) bool {
	return s > 1 && b[s-2] == '\\' && (b[s-1] == 'n' || b[s-1] == 'r' || b[s-1] == 't')
}

// bytesOf makes a set.
func bytesOf(s string) *[256]bool {
	var t [256]bool
	for i := range len(s) {
		t[s[i]] = true
	}
	return &t
}

// span returns the end of the run of bytes of the class bits that starts at i, at most limit bytes long.
func span(b []byte, i int, bits uint8, limit int) int {
	end := min(len(b), i+limit)
	for i < end && class[b[i]]&bits != 0 {
		i++
	}
	return i
}

// builtin makes the detectors this package comes with, in the order in which they are asked.
func builtin() []*detector {
	ds := []*detector{pemDetector(), encodedKeyDetector(), jwtDetector()}
	ds = append(ds, vendorDetectors()...)
	ds = append(ds, urlDetector(), assignDetector(), commandDetector(), pgpassDetector(), puttyDetector(), cryptDetector())
	return append(ds, emailDetector(), ibanDetector(), cardDetector(), ssnDetector(), phoneDetector())
}

// Lanes of the filter, see [Engine.next]. Anchors that share one should have little in common.
const (
	laneNumber   = iota // a byte that is no word's and a number, see mayBeNumber
	laneEmail           // second pair: anything
	laneIBAN            // a country and two digits, see mayBeIBAN
	laneToken           // prefixes of four bytes
	laneAssign          // keywords of assignments, see mayBeKey
	laneKeyword         // keywords of the other detectors
	laneText            // other fixed texts, and short prefixes
	laneOperator        // what the operator wrote
)

// Sets of bytes.
var (
	setAny     = setOf(func(byte) bool { return true })
	setDigit   = setOf(func(c byte) bool { return is(c, clDigit) })
	setAlnum   = setOf(func(c byte) bool { return is(c, clAlnum) })
	setNonWord = setOf(func(c byte) bool { return !isWord(c) })
)

func setOf(f func(c byte) bool) *[256]bool {
	var t [256]bool
	for c := range t {
		t[c] = f(byte(c))
	}
	return &t
}

// anchorOf is the anchor of a text of at least two bytes; where it has fewer than four, anything follows.
func anchorOf(lane uint8, text string) anchor {
	a := anchor{lane: lane}
	for k := range a.at {
		a.at[k] = setAny
		if k < len(text) {
			a.at[k] = bytesOf(text[k : k+1])
		}
	}
	return a
}

// anchorFold is anchorOf in either case.
func anchorFold(lane uint8, text string) anchor {
	a := anchor{lane: lane}
	for k := range a.at {
		a.at[k] = setAny
		if k < len(text) {
			a.at[k] = bytesOf(strings.ToLower(text[k:k+1]) + strings.ToUpper(text[k:k+1]))
		}
	}
	return a
}

// digitsOf appends the digits of v: equal numbers are equal however they are written.
func digitsOf(dst, v []byte) []byte {
	for _, c := range v {
		if is(c, clDigit) {
			dst = append(dst, c)
		}
	}
	return dst
}
