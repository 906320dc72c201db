package sftp

import "path"

// Flags of OPEN, draft section 6.3.
const (
	FlagRead   = 0x01
	FlagWrite  = 0x02
	FlagAppend = 0x04
	FlagCreate = 0x08
	FlagTrunc  = 0x10
	FlagExcl   = 0x20
)

// A Request is what one packet of a client asks for. Handle, To and Data share the packet's memory.
type Request struct {
	ID        uint32
	Op        Op
	Type      byte   // of the packet
	Extension string // name of an extension, as sent

	Path    string // the file it is about; of a link, what is made. By handle: filled by Tracker.Resolve
	NewPath string // Rename: the new name
	Target  string // Symlink: what the link says. Hardlink: the file that gets another name
	Handle  []byte // Read, Write, Close, Readdir, Fsync, CopyData; Stat, Setstat and Statvfs by handle
	To      []byte // CopyData: the handle written to
	ToPath  string // CopyData: filled by Tracker.Resolve

	Flags     uint32 // OpenRead, OpenWrite: as sent
	Attrs     Attrs  // OpenRead, OpenWrite, Setstat, Mkdir
	Offset    uint64 // Read, Write, CopyData
	Length    uint64 // Read, CopyData (0: to the end of the file), Write
	ToOffset  uint64 // CopyData
	Data      []byte // Write
	NoFollow  bool   // of a symbolic link itself: LSTAT, lsetstat
	Replaces  bool   // Rename: an existing file of the new name is replaced
	Version   uint32 // Init
	relayInit bool   // Init: the packet asks for more than it may
}

// A Need is one thing that must be allowed for a request to be let through.
type Need struct {
	Class Class
	Path  string
}

// Needs returns everything that must be allowed for r, after Tracker.Resolve; none if r goes through without
// a decision. A link gives its file another name under which no policy would know it, so making one needs
// what opening the file would.
func (r *Request) Needs() []Need {
	switch r.Op {
	case OpenRead:
		return []Need{{Reads, r.Path}}
	case OpenWrite:
		if r.CanRead() {
			return []Need{{Writes, r.Path}, {Reads, r.Path}}
		}
		return []Need{{Writes, r.Path}}
	case Mkdir:
		return []Need{{Writes, r.Path}}
	case Symlink, Hardlink:
		return []Need{{Writes, r.Path}, {Reads, r.linked()}, {Writes, r.linked()}}
	case Setstat:
		return r.setstatNeeds()
	case Remove, Rmdir:
		return []Need{{Removes, r.Path}}
	case Rename:
		return []Need{{Renames, r.Path}, {Writes, r.NewPath}}
	case Opendir, Stat, Statvfs, Realpath, Readlink:
		return []Need{{Looks, r.Path}}
	case Unknown:
		return []Need{{Refused, ""}}
	}
	return nil
}

// setstatNeeds tells setting the size, which cuts or extends the contents, from the rest.
func (r *Request) setstatNeeds() []Need {
	switch {
	case r.Attrs.Flags&AttrSize == 0:
		return []Need{{Attributes, r.Path}}
	case r.Attrs.Flags == AttrSize:
		return []Need{{Writes, r.Path}}
	}
	return []Need{{Writes, r.Path}, {Attributes, r.Path}}
}

// linked is the path of the file that a link leads to: what a symbolic link says is relative to its folder.
func (r *Request) linked() string {
	if r.Op == Hardlink || path.IsAbs(r.Target) {
		return r.Target
	}
	return path.Join(path.Dir(r.Path), r.Target)
}

// CanRead says whether r opens a file so that its contents can be read.
func (r *Request) CanRead() bool {
	// A server that is given neither opens for reading: O_RDONLY is 0.
	return r.Op == OpenRead || r.Op == OpenWrite && (r.Flags&FlagRead != 0 || r.Flags&FlagWrite == 0)
}

// Facts are what policies may ask about r.
func (r *Request) Facts() map[string]any {
	m := map[string]any{"operation": r.Op.String()}
	for name, s := range map[string]string{"path": r.Path, "new_path": r.NewPath, "link_target": r.Target, "extension": r.Extension} {
		if s != "" {
			m[name] = s
		}
	}
	switch r.Op {
	case OpenRead, OpenWrite:
		m["reads"] = r.CanRead()
		m["creates"] = r.Flags&FlagCreate != 0
		m["truncates"] = r.Flags&FlagTrunc != 0
	case Rename:
		m["replaces"] = r.Replaces
	case Setstat:
		m["follows"] = !r.NoFollow
	}
	if r.Attrs.Flags&AttrPermissions != 0 {
		m["mode"] = int64(r.Attrs.Permissions)
	}
	if r.Attrs.Flags&AttrSize != 0 {
		m["size"] = int64(min(r.Attrs.Size, 1<<63-1))
	}
	if r.Attrs.Flags&AttrUIDGID != 0 {
		m["uid"], m["gid"] = int64(r.Attrs.UID), int64(r.Attrs.GID)
	}
	return m
}

// Relay returns what to send to the server for r, which is the packet that r was parsed from, but for an
// INIT that asks for another version than this package's: then it is an INIT for that one.
func (r *Request) Relay(p Packet) Packet {
	if r.relayInit {
		return AppendInit(nil)
	}
	return p
}

// Parse reads a packet of a client. An error tells that the packet is broken; the Request then has the id,
// if the packet was long enough for one, for an answer of [BadMessage]. What is whole but not known is no
// error: its Op is [Unknown].
func Parse(p Packet) (Request, error) {
	r := Request{Type: p.Type()}
	if r.Type == 0 {
		return r, ErrMalformed
	}
	if r.Type == typeInit {
		return parseInit(p, r)
	}
	id, ok := p.id()
	if !ok {
		return r, ErrMalformed
	}
	r.ID = id
	f := fields{b: p[9:]}
	r.read(&f)
	if r.Op == Unknown && f.err == nil {
		return r, nil
	}
	if err := f.end(); err != nil {
		return Request{ID: id, Type: r.Type}, err
	}
	return r, nil
}

func parseInit(p Packet, r Request) (Request, error) {
	f := fields{b: p[5:]}
	r.Op, r.Version = Init, f.uint32()
	if f.err != nil {
		return r, f.err
	}
	// Extensions that a client announces (draft section 4) are left out: nothing it may say there is known.
	r.relayInit = r.Version != Version || len(f.b) > 0
	if r.Version < Version {
		return r, ErrVersion
	}
	return r, nil
}

// read reads the fields after the id, draft section 6.
func (r *Request) read(f *fields) {
	switch r.Type {
	case typeOpen:
		r.open(f)
	case typeClose:
		r.Op, r.Handle = Close, f.handle()
	case typeRead:
		r.Op, r.Handle, r.Offset, r.Length = Read, f.handle(), f.uint64(), uint64(f.uint32())
	case typeWrite:
		r.Op, r.Handle, r.Offset, r.Data = Write, f.handle(), f.uint64(), f.bytes()
		r.Length = uint64(len(r.Data))
	case typeStat, typeLstat:
		r.Op, r.Path, r.NoFollow = Stat, f.path(), r.Type == typeLstat
	case typeFstat:
		r.Op, r.Handle = Stat, f.handle()
	case typeSetstat:
		r.Op, r.Path, r.Attrs = Setstat, f.path(), f.attrs()
	case typeFsetstat:
		r.Op, r.Handle, r.Attrs = Setstat, f.handle(), f.attrs()
	case typeOpendir:
		r.Op, r.Path = Opendir, f.path()
	case typeReaddir:
		r.Op, r.Handle = Readdir, f.handle()
	case typeRemove:
		r.Op, r.Path = Remove, f.path()
	case typeMkdir:
		r.Op, r.Path, r.Attrs = Mkdir, f.path(), f.attrs()
	case typeRmdir:
		r.Op, r.Path = Rmdir, f.path()
	case typeRealpath:
		r.Op, r.Path = Realpath, f.path()
	case typeRename:
		r.Op, r.Path, r.NewPath = Rename, f.path(), f.path()
	case typeReadlink:
		r.Op, r.Path = Readlink, f.path()
	case typeSymlink:
		// OpenSSH has the two the other way round than the draft; see "SFTP: Reversal of arguments to
		// SSH_FXP_SYMLINK" in its PROTOCOL file. Everybody follows OpenSSH.
		r.Op, r.Target, r.Path = Symlink, f.path(), f.path()
	case typeExtended:
		r.extended(f)
	}
}

func (r *Request) open(f *fields) {
	r.Path, r.Flags, r.Attrs = f.path(), f.uint32(), f.attrs()
	// CREATE and TRUNC work without WRITE as well, and a flag that is not known may do anything.
	r.Op = OpenRead
	if r.Flags&^FlagRead != 0 {
		r.Op = OpenWrite
	}
}

// extended reads the extensions of OpenSSH, section 4 of its PROTOCOL file.
func (r *Request) extended(f *fields) {
	name := f.bytes()
	if len(name) > MaxHandle {
		name = name[:MaxHandle] // of an unknown extension; it is shown, not looked up
	}
	r.Extension = string(name)
	switch r.Extension {
	case "posix-rename@openssh.com":
		r.Op, r.Path, r.NewPath, r.Replaces = Rename, f.path(), f.path(), true
	case "hardlink@openssh.com":
		r.Op, r.Target, r.Path = Hardlink, f.path(), f.path()
	case "fsync@openssh.com":
		r.Op, r.Handle = Fsync, f.handle()
	case "statvfs@openssh.com":
		r.Op, r.Path = Statvfs, f.path()
	case "fstatvfs@openssh.com":
		r.Op, r.Handle = Statvfs, f.handle()
	case "lsetstat@openssh.com":
		r.Op, r.Path, r.Attrs, r.NoFollow = Setstat, f.path(), f.attrs(), true
	case "limits@openssh.com":
		r.Op = Info
	case "expand-path@openssh.com":
		r.Op, r.Path = Realpath, f.path()
	case "copy-data":
		r.Op, r.Handle, r.Offset, r.Length, r.To, r.ToOffset = CopyData, f.handle(), f.uint64(), f.uint64(), f.handle(), f.uint64()
	case "home-directory":
		r.Op = Info
		f.path() // a user's name
	case "users-groups-by-id@openssh.com":
		r.Op = Info
		f.bytes() // user ids
		f.bytes() // group ids
	}
}
