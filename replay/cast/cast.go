// Package cast writes, reads, checks and converts session recordings.
//
// A recording is an asciicast v3 file (https://docs.asciinema.org/manual/asciicast/v3/) that any player
// of that format plays. What players have no word for stands in comment lines: facts about the session,
// the operations in it, what is needed to restore bytes that are not UTF-8, and a chain of signed
// checkpoints. FORMAT.md beside this file describes every line well enough to write a verifier from it.
//
// Recordings are evidence: a line, once written, is never changed. A [Writer] that cannot write says so
// at once and keeps saying so; it is the caller who decides whether the session may go on. [Verify]
// needs only public keys. The package starts no goroutine and opens no file.
package cast

import (
	"errors"
	"time"
)

// Limits of the format. A [Reader] refuses what exceeds them, a [Writer] never writes it.
const (
	MaxLine  = 1 << 20   // bytes of one line, with its newline
	MaxChunk = 32 << 10  // session bytes in one event
	MaxNote  = 512 << 10 // bytes of a note's JSON
	maxDepth = 64        // nesting of JSON in a comment
	maxSide  = 9999      // columns or rows of a terminal
)

// Stream names the direction and kind of the bytes of an event.
type Stream byte

// The streams of a session. Gate marks bytes that the recorder added for players and that were in no
// stream of the session, such as the switch to newline mode of a session without a terminal.
const (
	Stdout Stream = 'o'
	Stderr Stream = 'e'
	Stdin  Stream = 'i'
	Gate   Stream = 'g'
)

func (s Stream) String() string {
	switch s {
	case Stdout:
		return "stdout"
	case Stderr:
		return "stderr"
	case Stdin:
		return "stdin"
	case Gate:
		return "gate"
	}
	return "unknown"
}

// Header is the first line of a recording.
type Header struct {
	Cols, Rows uint32 // clamped to 1..9999; 0 becomes 80 and 24
	Type       string // TERM, "" without a terminal
	Timestamp  time.Time
	Command    string
	Title      string
	Env        map[string]string
	Tags       []string
}

// Counts is what a seal says of a recording.
type Counts struct {
	Events uint64 `json:"events"` // event lines
	Bytes  uint64 `json:"bytes"`  // bytes of stdout, stderr and stdin, exact
	Ops    uint64 `json:"ops"`    // notes of kind "op"
	Masked uint64 `json:"masked"` // values that were masked
}

// State says how a recording ended.
type State string

// Complete is everything up to the session's end, sealed with the session's key. Recovered was sealed by
// another key after the gate died: whole, but what follows the last checkpoint of the session's own key is
// vouched for by the recovering gate alone. Truncated lacks something: its recorder failed, or the file
// ends without a seal. Tampered does not agree with its own signatures.
const (
	Complete  State = "complete"
	Recovered State = "recovered"
	Truncated State = "truncated"
	Tampered  State = "tampered"
)

// Seal is the last line of a recording. Its Hash covers the whole file: each chain line holds the hash of
// the bytes since the line before it and of that line.
type Seal struct {
	Session     string    `json:"session"`
	State       State     `json:"state"`
	Reason      string    `json:"reason,omitempty"`
	Status      *int      `json:"status,omitempty"` // exit status, where there was one
	Signal      string    `json:"signal,omitempty"` // RFC 4254 section 6.10 name without SIG
	Counts      Counts    `json:"counts"`
	Size        int64     `json:"size"`        // bytes of the whole file, the seal's line included
	Checkpoints uint64    `json:"checkpoints"` // chain lines, the seal included
	Duration    int64     `json:"duration_us"` // microseconds from the start to the seal
	Time        time.Time `json:"time"`        // wall clock of the sealing gate
	Hash        string    `json:"hash"`        // SHA-256 of the seal's line with its newline, hex
}

// Errors that callers branch on.
var (
	ErrClosed   = errors.New("recording is sealed")
	ErrTooLarge = errors.New("note is larger than a recording's line may be")
	ErrKind     = errors.New("note kind must be 1 to 32 of a-z, 0-9, _ and no name the format itself uses")
)

// A FormatError says where a recording stops being one.
type FormatError struct {
	Line   int   // from 1
	Offset int64 // of the line's first byte
	Why    string
}
