package sftp

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// fields reads the fields of a packet, RFC 4251 section 5. The first that is not there makes all further
// ones zero.
type fields struct {
	b   []byte
	err error
}

func (f *fields) fail(what string) {
	if f.err == nil {
		f.err = fmt.Errorf("%w: %s", ErrMalformed, what)
	}
	f.b = nil
}

func (f *fields) uint32() uint32 {
	if len(f.b) < 4 {
		f.fail("it ends within a number")
		return 0
	}
	v := binary.BigEndian.Uint32(f.b)
	f.b = f.b[4:]
	return v
}

func (f *fields) uint64() uint64 {
	if len(f.b) < 8 {
		f.fail("it ends within a number")
		return 0
	}
	v := binary.BigEndian.Uint64(f.b)
	f.b = f.b[8:]
	return v
}

// bytes is a string field; it shares the packet's memory.
func (f *fields) bytes() []byte {
	n := f.uint32()
	if uint64(n) > uint64(len(f.b)) {
		f.fail("it ends within a string")
		return nil
	}
	v := f.b[:n:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) handle() []byte {
	h := f.bytes()
	if len(h) > MaxHandle && f.err == nil {
		f.fail("")
		f.err = fmt.Errorf("%w: a handle of %d bytes", ErrTooLong, len(h))
	}
	return h
}

// path is a string field that a server hands to its system as a C string.
func (f *fields) path() string {
	p := f.bytes()
	switch {
	case f.err != nil:
		return ""
	case len(p) > MaxPath:
		f.fail("")
		f.err = fmt.Errorf("%w: a path of %d bytes", ErrTooLong, len(p))
		return ""
	case bytes.IndexByte(p, 0) >= 0:
		f.fail("a path with a NUL byte")
		return ""
	}
	return string(p)
}

// Flags of attributes, draft section 5.
const (
	AttrSize        = 0x00000001
	AttrUIDGID      = 0x00000002
	AttrPermissions = 0x00000004
	AttrTimes       = 0x00000008
	attrExtended    = 0x80000000
	attrAll         = AttrSize | AttrUIDGID | AttrPermissions | AttrTimes | attrExtended
)

// Attrs are the attributes of a file that a request sets; Flags tells which of them.
type Attrs struct {
	Flags        uint32
	Size         uint64
	UID, GID     uint32
	Permissions  uint32
	Atime, Mtime uint32 // seconds since 1970
}

func (f *fields) attrs() Attrs {
	a := Attrs{Flags: f.uint32()}
	if a.Flags&^attrAll != 0 {
		// What follows cannot be told without knowing the flag.
		f.fail("attributes with unknown flags")
		return Attrs{}
	}
	if a.Flags&AttrSize != 0 {
		a.Size = f.uint64()
	}
	if a.Flags&AttrUIDGID != 0 {
		a.UID, a.GID = f.uint32(), f.uint32()
	}
	if a.Flags&AttrPermissions != 0 {
		a.Permissions = f.uint32()
	}
	if a.Flags&AttrTimes != 0 {
		a.Atime, a.Mtime = f.uint32(), f.uint32()
	}
	if a.Flags&attrExtended != 0 {
		for n := f.uint32(); n > 0 && f.err == nil; n-- {
			f.bytes() // name
			f.bytes() // value
		}
	}
	return a
}

// end must be called after the last field: bytes behind it would be shown to nobody.
func (f *fields) end() error {
	if len(f.b) > 0 {
		f.fail(fmt.Sprintf("%d bytes too many", len(f.b)))
	}
	return f.err
}
