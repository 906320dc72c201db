// Package sftp reads the SSH File Transfer Protocol, version 3 (draft-ietf-secsh-filexfer-02) with the
// extensions of OpenSSH, as it passes by. It does no I/O: a relay between a client and a server cuts both
// streams into packets ([Splitter]), asks what a request would do ([Parse], [Tracker.Resolve]), and forwards
// the packet's own bytes or answers in the server's place ([AppendStatus]). Afterwards the tracker tells
// which files were read and written, how much, and with which SHA-256.
//
// A relay for one session, with the client's and the server's bytes each in a goroutine of its own:
//
//	from the client                          from the server
//	  Splitter.Next                            Splitter.Next
//	  Parse          error: BadMessage         ParseReply        error: end the session
//	  Tracker.Resolve  error: its Status       Tracker.Received  error: end the session
//	  decide         no: PermissionDenied      forward, or what [Reply.Relay] says
//	  Tracker.Sent   error: its Status
//	  forward, or what [Request.Relay] says
//
// The protocol lets replies come in any order, told apart by their id, so an answer that the relay makes
// itself may overtake the server's.
//
// Paths are what the client sent. [Tracker.Abs] makes them absolute by their text alone: a symbolic link on
// the server can still lead elsewhere, and only the server could tell.
package sftp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Version is the protocol version that this package understands, and all that it lets be agreed on.
const Version = 3

// Bounds on what a peer may send.
const (
	// MaxPacket is the largest packet, its length field included. OpenSSH takes and sends at most
	// 256 KiB (SFTP_MAX_MSG_LENGTH in its sftp-common.h).
	MaxPacket = 256<<10 + 1024
	MaxPath   = 16 << 10 // bytes; four times PATH_MAX
	MaxHandle = 256      // bytes; draft section 3: "The length of the handle string MUST NOT exceed 256"
)

// Types of packets, draft section 3.
const (
	typeInit          = 1
	typeVersion       = 2
	typeOpen          = 3
	typeClose         = 4
	typeRead          = 5
	typeWrite         = 6
	typeLstat         = 7
	typeFstat         = 8
	typeSetstat       = 9
	typeFsetstat      = 10
	typeOpendir       = 11
	typeReaddir       = 12
	typeRemove        = 13
	typeMkdir         = 14
	typeRmdir         = 15
	typeRealpath      = 16
	typeStat          = 17
	typeRename        = 18
	typeReadlink      = 19
	typeSymlink       = 20
	typeStatus        = 101
	typeHandle        = 102
	typeData          = 103
	typeName          = 104
	typeAttrs         = 105
	typeExtended      = 200
	typeExtendedReply = 201
)

// Status is the code of a STATUS reply, draft section 7.
type Status uint32

// The codes of version 3.
const (
	OK               Status = 0
	EOF              Status = 1
	NoSuchFile       Status = 2
	PermissionDenied Status = 3
	Failure          Status = 4
	BadMessage       Status = 5
	OpUnsupported    Status = 8
)

// A Packet is one whole packet with its length field, as it goes over the wire.
type Packet []byte

// Type returns the packet's type, 0 for what is no packet.
func (p Packet) Type() byte {
	if len(p) < 5 {
		return 0
	}
	return p[4]
}

// id returns the request's id, which every packet has but INIT and VERSION.
func (p Packet) id() (uint32, bool) {
	if len(p) < 9 {
		return 0, false
	}
	return binary.BigEndian.Uint32(p[5:]), true
}

var (
	// ErrTooLong: a packet, path or handle is longer than its bound.
	ErrTooLong = errors.New("sftp: too long")
	// ErrMalformed: a packet is not what its type says.
	ErrMalformed = errors.New("sftp: malformed packet")
	// ErrVersion: the peers would speak another version of the protocol.
	ErrVersion = errors.New("sftp: only version 3 is spoken here")
	// ErrHandle: a request is about a handle that is not open, or being closed.
	ErrHandle = errors.New("sftp: no such handle")
	// ErrTooMany: more files are open, or more requests under way, than the tracker keeps.
	ErrTooMany = errors.New("sftp: too many open files or requests")
	// ErrID: a request has the id of another that is not answered yet.
	ErrID = errors.New("sftp: a request's id is in use")
	// ErrOrder: a session does not begin with INIT and VERSION, or has more than one. It has no answer; end
	// the session.
	ErrOrder = errors.New("sftp: out of order")
	// ErrReply: a reply answers no request, or not as it should. End the session.
	ErrReply = errors.New("sftp: unexpected reply")
)

// Op is what a request asks for.
type Op uint8

// The operations. Where the protocol has two packets for one thing, by path and by handle, or two names
// for nearly one thing, they are one operation.
const (
	Unknown   Op = iota // a packet or extension of which nothing is known: refuse it with [OpUnsupported]
	Init                // INIT
	OpenRead            // OPEN that can only read
	OpenWrite           // OPEN that can create, truncate or write; it may read as well
	Read                // READ
	Write               // WRITE
	Close               // CLOSE
	Stat                // STAT, LSTAT, FSTAT
	Setstat             // SETSTAT, FSETSTAT, lsetstat: mode, owner, times, or the size
	Opendir             // OPENDIR
	Readdir             // READDIR
	Remove              // REMOVE, a file
	Mkdir               // MKDIR
	Rmdir               // RMDIR
	Realpath            // REALPATH, expand-path
	Readlink            // READLINK
	Rename              // RENAME, posix-rename
	Symlink             // SYMLINK
	Hardlink            // hardlink
	Fsync               // fsync
	Statvfs             // statvfs, fstatvfs
	CopyData            // copy-data, from one open file into another
	Info                // limits, home-directory, users-groups-by-id: about the server, not about files
)

var opNames = [...]string{
	"unknown", "init", "open-read", "open-write", "read", "write", "close", "stat", "setstat", "opendir", "readdir", "remove",
	"mkdir", "rmdir", "realpath", "readlink", "rename", "symlink", "hardlink", "fsync", "statvfs", "copy-data", "info",
}

// String returns the operation's name in lower case, with hyphens.
func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return fmt.Sprintf("Op(%d)", uint8(o))
}

// Class is a kind of decision. What needs none was decided when its handle was opened, or is about no file.
type Class string

// The classes.
const (
	Refused    Class = "unknown"    // nobody knows what it does
	Looks      Class = "list"       // tells names and attributes, not contents
	Reads      Class = "read"       // opens contents for reading
	Writes     Class = "write"      // creates, changes or replaces contents, directories and links
	Removes    Class = "remove"     // removes a name
	Renames    Class = "rename"     // removes one name and creates or replaces another
	Attributes Class = "attributes" // changes mode, owner or times
)

// StatusFor returns the code with which a relay answers a request that failed with err.
func StatusFor(err error) Status {
	switch {
	case err == nil:
		return OK
	case errors.Is(err, ErrMalformed), errors.Is(err, ErrTooLong), errors.Is(err, ErrID):
		return BadMessage
	}
	return Failure
}
