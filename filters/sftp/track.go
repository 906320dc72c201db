package sftp

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"path"
	"slices"
	"strings"
	"sync"
)

// Limits bound what a [Tracker] keeps. Zero fields mean the defaults.
type Limits struct {
	Handles int // open files and folders, and those being opened; default 1024
	Pending int // requests that are not answered; default 4096
}

// A Tracker follows one session: which handle is which file, and what was read and written. Its methods
// may be called from the two directions at once.
type Tracker struct {
	limits Limits

	mu      sync.Mutex
	begun   bool // INIT was sent
	agreed  bool // VERSION was received
	home    string
	handles map[string]*open
	opening int
	pending map[uint32]pending
}

// open is a file or folder that the server has open.
type open struct {
	handle  string
	file    File
	closing bool
	read    stream
	written stream
}

// pending is a request that the server has not answered.
type pending struct {
	op     Op
	ext    bool // the reply may be an EXTENDED_REPLY
	open   *open
	path   string
	flags  uint32
	offset uint64
	length uint64
}

// A File is what became of one handle.
type File struct {
	Path    string
	Dir     bool
	Flags   uint32 // of its OPEN
	Read    Sum
	Written Sum
}

// A Sum is what passed of a file in one direction.
type Sum struct {
	Bytes  uint64 // that passed, repeated ones included
	SHA256 []byte // of them, if they passed in order from the first byte of the file; else nil
	// EOF: the server said that the file ends where the sum does, so that the sum is the whole file's. It
	// is set for reading only.
	EOF bool
}

// stream sums up one direction of a file.
type stream struct {
	bytes  uint64
	next   uint64 // offset of the byte that would be in order
	hash   hash.Hash
	broken bool
	eof    bool
}

func (s *stream) add(offset uint64, p []byte) {
	s.bytes += uint64(len(p))
	if s.broken || offset != s.next {
		s.broken, s.hash = true, nil
		return
	}
	if s.hash == nil {
		s.hash = sha256.New()
	}
	s.hash.Write(p)
	s.next += uint64(len(p))
	s.eof = false
}

// spoil notes that what passed is not what the file holds.
func (s *stream) spoil() { s.broken, s.hash = true, nil }

func (s *stream) sum() Sum {
	sum := Sum{Bytes: s.bytes}
	if s.hash != nil && !s.broken {
		sum.SHA256, sum.EOF = s.hash.Sum(nil), s.eof
	}
	return sum
}

func (o *open) result() File {
	f := o.file
	f.Read, f.Written = o.read.sum(), o.written.sum()
	return f
}

// NewTracker returns a tracker for a session that has not begun.
func NewTracker(l Limits) *Tracker {
	if l.Handles <= 0 {
		l.Handles = 1024
	}
	if l.Pending <= 0 {
		l.Pending = 4096
	}
	return &Tracker{limits: l, handles: make(map[string]*open), pending: make(map[uint32]pending)}
}

// Resolve checks that r can be sent now, and fills in the paths of its handles. A handle that is being closed
// is none any more: the server may give it to another file before anybody here knows. It tells nobody; r may
// still be refused.
func (t *Tracker) Resolve(r *Request) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.resolve(r)
	return err
}

func (t *Tracker) resolve(r *Request) (*open, error) {
	if t.begun == (r.Op == Init) {
		return nil, ErrOrder
	}
	if r.Op == Init {
		return nil, nil
	}
	if _, used := t.pending[r.ID]; used {
		return nil, ErrID
	}
	if len(t.pending) >= t.limits.Pending || opens(r.Op) && len(t.handles)+t.opening >= t.limits.Handles {
		return nil, ErrTooMany
	}
	if r.To != nil || r.Op == CopyData {
		to, err := t.handle(r.To)
		if err != nil {
			return nil, err
		}
		if err := same(&r.ToPath, to); err != nil {
			return nil, err
		}
	}
	if !byHandle(r) {
		return nil, nil
	}
	o, err := t.handle(r.Handle)
	if err != nil {
		return nil, err
	}
	return o, same(&r.Path, o)
}

// same fills in a path, once: what was decided on is what is sent.
func same(path *string, o *open) error {
	if *path != "" && *path != o.file.Path {
		return ErrHandle
	}
	*path = o.file.Path
	return nil
}

func (t *Tracker) handle(h []byte) (*open, error) {
	o := t.handles[string(h)]
	if o == nil || o.closing {
		return nil, ErrHandle
	}
	return o, nil
}

func opens(o Op) bool { return o == OpenRead || o == OpenWrite || o == Opendir }

// byHandle says whether r names its file by Handle.
func byHandle(r *Request) bool {
	switch r.Op {
	case Read, Write, Close, Readdir, Fsync, CopyData:
		return true
	case Stat, Setstat, Statvfs:
		return r.Type == typeFstat || r.Type == typeFsetstat || r.Extension == "fstatvfs@openssh.com"
	}
	return false
}

// Sent notes that r goes to the server now; call it just before. After an error r must not be sent.
func (t *Tracker) Sent(r *Request) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	o, err := t.resolve(r)
	if err != nil {
		return err
	}
	p := pending{op: r.Op, ext: r.Type == typeExtended, open: o, offset: r.Offset, length: r.Length}
	switch r.Op {
	case Init:
		t.begun = true
		return nil
	case OpenRead, OpenWrite, Opendir, Realpath:
		p.path, p.flags = r.Path, r.Flags
	case Close:
		o.closing = true
	case Write:
		o.written.add(r.Offset, r.Data)
	case CopyData:
		p.open = t.handles[string(r.To)]
		p.open.written.spoil() // nobody here saw those bytes
	case Setstat:
		if o != nil && r.Attrs.Flags&AttrSize != 0 && r.Attrs.Size != o.written.next {
			o.written.spoil()
		}
	}
	if opens(r.Op) {
		t.opening++
	}
	t.pending[r.ID] = p
	return nil
}

// Received notes what the server says; call it before the reply goes to the client. When it answers a CLOSE,
// the file that was closed is returned. After an error the session must end.
func (t *Tracker) Received(r *Reply) (*File, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.Type == typeVersion {
		if !t.begun || t.agreed {
			return nil, ErrOrder
		}
		t.agreed = true
		return nil, nil
	}
	p, ok := t.pending[r.ID]
	if !ok || !t.agreed {
		return nil, fmt.Errorf("%w: no request has the id %d", ErrReply, r.ID)
	}
	if !p.fits(r) {
		return nil, fmt.Errorf("%w: packet type %d answers %s", ErrReply, r.Type, p.op)
	}
	delete(t.pending, r.ID)
	if opens(p.op) {
		t.opening--
	}
	return t.answer(p, r)
}

// fits says whether r is of a type that answers p, draft section 7.
func (p pending) fits(r *Reply) bool {
	switch r.Type {
	case typeStatus:
		return true
	case typeHandle:
		return opens(p.op)
	case typeData:
		return p.op == Read && uint64(len(r.Data)) <= p.length
	case typeName:
		return p.op == Readdir || p.op == Realpath || p.op == Readlink
	case typeAttrs:
		return p.op == Stat
	case typeExtendedReply:
		return p.ext
	}
	return false
}

func (t *Tracker) answer(p pending, r *Reply) (*File, error) {
	switch {
	case r.Type == typeHandle:
		return nil, t.opened(p, r.Handle)
	case r.Type == typeData:
		p.open.read.add(p.offset, r.Data)
	case r.Type == typeName && p.op == Realpath && r.Names == 1 && (p.path == "." || p.path == ""):
		if path.IsAbs(r.Name) && t.home == "" {
			t.home = path.Clean(r.Name)
		}
	case p.op == Close:
		return t.closed(p.open), nil
	case p.op == Read && r.Status == EOF:
		if s := &p.open.read; p.offset == s.next {
			s.eof = true
			if s.hash == nil && !s.broken {
				s.hash = sha256.New() // an empty file
			}
		}
	case p.op == Write && r.Status != OK:
		p.open.written.spoil()
	}
	return nil, nil
}

func (t *Tracker) opened(p pending, handle []byte) error {
	if t.handles[string(handle)] != nil {
		return fmt.Errorf("%w: a handle that is open is given to %q", ErrReply, p.path)
	}
	o := &open{handle: string(handle), file: File{Path: p.path, Dir: p.op == Opendir, Flags: p.flags}}
	if p.flags&(FlagTrunc|FlagExcl) != 0 {
		o.written.add(0, nil) // what was written is all there is, also when it is nothing
	}
	t.handles[o.handle] = o
	return nil
}

// closed forgets a handle, whatever the server said: after a CLOSE that failed nobody knows what it is.
func (t *Tracker) closed(o *open) *File {
	delete(t.handles, o.handle)
	f := o.result()
	return &f
}

// End returns the files that were open when the session ended, by path.
func (t *Tracker) End() []File {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []File
	for _, o := range t.handles {
		all = append(all, o.result())
	}
	clear(t.handles)
	slices.SortFunc(all, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return all
}

// Abs returns p absolute and without "." and "..", by its text alone. A relative path counts from the folder
// in which the server starts, which the answer to a REALPATH of "." tells; before that, known is false, the
// result is relative, and nothing must be decided by it.
func (t *Tracker) Abs(p string) (abs string, known bool) {
	if path.IsAbs(p) {
		return path.Clean(p), true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.home == "" {
		return path.Clean(p), false
	}
	return path.Join(t.home, p), true
}
