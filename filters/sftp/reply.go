package sftp

import (
	"encoding/binary"
	"slices"
	"strings"
)

// A Reply is what one packet of a server says. Handle and Data share the packet's memory.
type Reply struct {
	ID      uint32
	Type    byte
	Status  Status // STATUS
	Message string // STATUS; the server's words
	Handle  []byte // HANDLE
	Data    []byte // DATA
	Name    string // NAME: the first name
	Names   uint32 // NAME: how many there are

	Version    uint32   // VERSION
	Extensions []string // VERSION: names of those that Relay lets through
	relay      Packet
}

// maxMessage bounds the messages of STATUS replies, in bytes.
const maxMessage = 4096

// ParseReply reads a packet of a server. After an error the session cannot go on: nobody could say any more
// what the server does.
func ParseReply(p Packet) (Reply, error) {
	r := Reply{Type: p.Type()}
	switch r.Type {
	case 0:
		return r, ErrMalformed
	case typeVersion:
		return r.version(p)
	}
	id, ok := p.id()
	if !ok {
		return r, ErrMalformed
	}
	r.ID = id
	f := fields{b: p[9:]}
	switch r.Type {
	case typeStatus:
		r.Status = Status(f.uint32())
		if len(f.b) > 0 { // version 2 had no message, and some servers still leave it out
			m := f.bytes()
			r.Message = string(m[:min(len(m), maxMessage)])
		}
		return r, f.err
	case typeHandle:
		r.Handle = f.handle()
		return r, f.end()
	case typeData:
		r.Data = f.bytes()
		return r, f.end()
	case typeName:
		if r.Names = f.uint32(); r.Names > 0 {
			r.Name = f.path()
		}
		return r, f.err
	case typeAttrs, typeExtendedReply:
		return r, nil
	}
	return r, ErrMalformed
}

// version reads the first packet, and makes the one that a client gets: without the extensions of which
// this package does not know what they do, so that no client tries them.
func (r Reply) version(p Packet) (Reply, error) {
	f := fields{b: p[5:]}
	if r.Version = f.uint32(); f.err == nil && r.Version != Version {
		return r, ErrVersion
	}
	out := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 0, typeVersion}, Version)
	for len(f.b) > 0 && f.err == nil {
		name, value := f.bytes(), f.bytes()
		if f.err == nil && slices.Contains(extensions, string(name)) && len(r.Extensions) < 2*len(extensions) {
			r.Extensions = append(r.Extensions, string(name))
			out = appendString(appendString(out, name), value)
		}
	}
	r.relay = finish(out, 0)
	return r, f.err
}

// Relay returns what to send to the client for r, which is the packet that r was parsed from, but for a
// VERSION that announces extensions which are not known here.
func (r *Reply) Relay(p Packet) Packet {
	if r.relay != nil {
		return r.relay
	}
	return p
}

// extensions are those that Request.extended reads.
var extensions = []string{
	"posix-rename@openssh.com", "statvfs@openssh.com", "fstatvfs@openssh.com", "hardlink@openssh.com", "fsync@openssh.com",
	"lsetstat@openssh.com", "limits@openssh.com", "expand-path@openssh.com", "copy-data", "home-directory",
	"users-groups-by-id@openssh.com",
}

// AppendStatus appends a STATUS reply to a request, draft section 7. The message is for the user; clients of
// OpenSSH show their own words for most codes, others show it. It is cut at 1,024 bytes.
func AppendStatus(dst []byte, id uint32, code Status, message string) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, typeStatus)
	dst = binary.BigEndian.AppendUint32(dst, id)
	dst = binary.BigEndian.AppendUint32(dst, uint32(code))
	dst = appendString(dst, strings.ToValidUTF8(message[:min(len(message), 1024)], ""))
	dst = appendString(dst, "") // language
	return finish(dst, start)
}

// AppendInit appends the INIT of a client that speaks this package's version and announces nothing.
func AppendInit(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, typeInit)
	return finish(binary.BigEndian.AppendUint32(dst, Version), start)
}

// AppendRealpath appends a REALPATH request, by which a relay learns what paths are relative to.
func AppendRealpath(dst []byte, id uint32, path string) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, typeRealpath)
	dst = binary.BigEndian.AppendUint32(dst, id)
	return finish(appendString(dst, path), start)
}

func appendString[T ~string | ~[]byte](dst []byte, s T) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s)))
	return append(dst, s...)
}

// finish sets the length of the packet that begins at start.
func finish(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}
