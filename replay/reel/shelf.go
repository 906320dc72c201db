package reel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/term"
)

// Options configure a Shelf. Dir and Open are required.
type Options struct {
	// Dir keeps reels, readable by the gate alone; made if missing. It can be emptied while nothing runs.
	Dir string
	// Open reads a recording from a byte of it, which is the beginning of a line, as far as it is written.
	Open OpenFunc
	// Limit is how many bytes Dir may hold; the reels that nobody asked for longest go. Default 1 GiB.
	Limit int64
	// Age is how long a reel that nobody asks for is kept: what a purge elsewhere removed is not kept here
	// for good. Default a week.
	Age time.Duration
	Log *slog.Logger // nil: none
}

// maxKept is how many reels are kept in memory beside those under way.
const maxKept = 64

// A Shelf keeps reels and makes them when they are asked for. It is safe for concurrent use.
type Shelf struct {
	o      Options
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	reels map[string]*tape
	clock int64 // counts uses
}

// A tape is one recording's reel. Only one goroutine at a time makes it.
type tape struct {
	id, path string
	used     int64 // by Shelf.mu

	mu     sync.Mutex
	view   View
	frames []place
	made   chan struct{} // closed when the making under way ends; nil: none is
	some   chan struct{} // closed when there is something to play
	err    error         // of the last making
	b      *builder      // to go on with; only for who makes
	size   int64         // of the file's whole frames; the same
}

var validID = regexp.MustCompile(`^[0-9a-z]{6,40}$`).MatchString

// OpenShelf prepares the directory.
func OpenShelf(o Options) (*Shelf, error) {
	if o.Dir == "" || o.Open == nil {
		return nil, errors.New("shelf of reels: directory and recordings are required")
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("shelf of reels: %w", err)
	}
	if o.Limit == 0 {
		o.Limit = 1 << 30
	}
	if o.Age == 0 {
		o.Age = 7 * 24 * time.Hour
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Shelf{o: o, reels: map[string]*tape{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Close stops what is being made and returns when it has stopped.
func (s *Shelf) Close() error {
	s.cancel()
	s.wg.Wait()
	return nil
}

// View returns what is known of a recording. It reads on in the recording, and comes back when all of it was
// read, or after wait if there is something to play by then; How is Making in that case, and asking again tells
// more. Where it ended Open before, it is read on only if more is true.
func (s *Shelf) View(ctx context.Context, id string, more bool, wait time.Duration) (View, error) {
	t, err := s.tape(id)
	if err != nil {
		return View{}, err
	}
	t.mu.Lock()
	if t.made == nil && (t.view.How == Making || t.view.How == Open && more || t.err != nil) {
		t.made, t.err = make(chan struct{}), nil
		if t.some == nil {
			t.some = make(chan struct{})
		}
		s.wg.Go(func() { s.make(t) })
	}
	made, some := t.made, t.some
	t.mu.Unlock()
	if made != nil {
		if err := waitFor(ctx, made, some, wait); err != nil {
			return View{}, err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.view.Segments) == 0 {
		return View{}, t.err
	}
	v := t.view
	if t.made != nil { // the segment under way has no end yet
		v.How, v.Length = Making, v.Segments[len(v.Segments)-1].Start
		if len(v.Segments) > 1 {
			v.Segments = v.Segments[:len(v.Segments)-1]
		}
	}
	return v, t.err
}

func waitFor(ctx context.Context, made, some <-chan struct{}, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-made:
		return nil
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-made:
	case <-some:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// tape finds the reel of a recording, in memory, in its file, or empty.
func (s *Shelf) tape(id string) (*tape, error) {
	if !validID(id) {
		return nil, fmt.Errorf("reel: %w", fs.ErrInvalid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil, fmt.Errorf("reel: %w", fs.ErrClosed)
	}
	s.clock++
	if t := s.reels[id]; t != nil {
		t.used = s.clock
		return t, nil
	}
	s.forget()
	t := &tape{id: id, path: filepath.Join(s.o.Dir, id+".reel"), used: s.clock}
	t.load()
	s.reels[id] = t
	return t, nil
}

// forget drops from memory what was used longest ago and is not being made.
func (s *Shelf) forget() {
	for len(s.reels) >= maxKept {
		var oldest *tape
		for _, t := range s.reels {
			if t.mu.TryLock() {
				if t.made == nil && (oldest == nil || t.used < oldest.used) {
					oldest = t
				}
				t.mu.Unlock()
			}
		}
		if oldest == nil {
			return
		}
		delete(s.reels, oldest.id)
	}
}

// load reads the tape's file, if there is one that is any good.
func (t *tape) load() {
	f, err := os.Open(t.path)
	if err != nil {
		return
	}
	defer f.Close()
	v, frames, err := readFile(f)
	if err != nil {
		return // it is made anew
	}
	now := time.Now()
	_ = os.Chtimes(t.path, now, now) // which file goes first is all this decides
	t.view, t.frames = v, frames
	last := frames[len(frames)-1]
	t.size = last.at + 4 + int64(last.size)
}

// make reads on in a recording. It is called by one goroutine at a time, and ends with the shelf.
func (s *Shelf) make(t *tape) {
	err := s.read(t)
	t.mu.Lock()
	if t.b != nil {
		t.publish()
	}
	if err != nil && s.ctx.Err() == nil {
		s.o.Log.Warn("reel not made", "session", t.id, "error", err)
	}
	t.err = err
	close(t.made)
	t.made = nil
	t.mu.Unlock()
	s.tidy()
}

func (s *Shelf) read(t *tape) error {
	from := int64(0)
	switch {
	case t.b != nil:
		from = t.b.end
	case len(t.view.Segments) > 0:
		from = t.view.Segments[len(t.view.Segments)-1].From
	}
	r, err := s.o.Open(s.ctx, t.id, from)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := t.begin(r); err != nil || t.b == nil {
		return err
	}
	if err := t.b.run(); err != nil {
		return err
	}
	return t.end()
}

// begin makes the tape's builder go on with r. There is none afterwards where r is no recording at all.
func (t *tape) begin(r io.Reader) error {
	switch {
	case t.b != nil:
		return t.b.goOn(r)
	case len(t.view.Segments) > 0 && len(t.frames) > 0:
		return t.resume(r)
	}
	b, err := newBuilder(r)
	if isDamage(err) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.view = View{Segments: []Segment{{Cols: 80, Rows: 24}}, How: Damaged, Why: err.Error()}
		return nil
	}
	if err != nil {
		return err
	}
	b.saved = t.cut
	t.size, t.frames = 0, nil
	f := frameOf(b.view.Segments[0], nil, nil)
	f.Format = format
	if err := os.WriteFile(t.path, nil, 0o600); err != nil {
		return err
	}
	t.b = b
	return t.write(f)
}

// resume goes on where a file ends that another process, or this one a while ago, has written.
func (t *tape) resume(r io.Reader) error {
	last := len(t.view.Segments) - 1
	screen, err := screenAt(t.path, t.frames[last])
	if err != nil {
		return err
	}
	if err := os.Truncate(t.path, t.size); err != nil { // a frame that was written in part
		return err
	}
	s := t.view.Segments[last]
	b := &builder{view: t.view, screen: term.New(int(s.Cols), int(s.Rows)), saved: t.cut}
	b.view.How = Making
	b.screen.Write([]byte(screen))
	if err := b.resume(r); err != nil {
		return err
	}
	t.b = b
	return nil
}

// cut saves the segment that begins, and shows the one before it to those who wait.
func (t *tape) cut() error {
	b := t.b
	last := &b.view.Segments[len(b.view.Segments)-1]
	if err := t.write(frameOf(*last, b.gaps, b.marks)); err != nil {
		return err
	}
	b.gaps, b.marks, last.screen = nil, nil, ""
	t.mu.Lock()
	defer t.mu.Unlock()
	t.publish()
	return nil
}

// publish is called with mu held, by who makes.
func (t *tape) publish() {
	t.view = t.b.view
	select {
	case <-t.some:
	default:
		close(t.some)
	}
}

// write adds a frame to the file. Who only reads the file never needs what is behind size.
func (t *tape) write(f frame) error {
	b, err := pack(f)
	if err != nil {
		return fmt.Errorf("reel: %w", err)
	}
	file, err := os.OpenFile(t.path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("reel: %w", err)
	}
	defer file.Close()
	if _, err := file.WriteAt(b, t.size); err != nil {
		return fmt.Errorf("reel: %w", err)
	}
	if f.End == nil {
		t.mu.Lock()
		t.frames = append(t.frames, place{t.size, len(b) - 4})
		t.mu.Unlock()
	}
	t.size += int64(len(b))
	return nil
}

// end saves that the recording was read to its seal; then nothing more will come.
func (t *tape) end() error {
	b := t.b
	if b.view.How != Whole {
		return nil
	}
	f := frameOf(Segment{}, b.gaps, b.marks)
	f.End = &ending{us(b.view.Length), b.view.Read}
	if err := t.write(f); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.publish()
	t.b = nil
	return nil
}

// tidy removes the files that were not used for longest while there are too many.
func (s *Shelf) tidy() {
	entries, err := os.ReadDir(s.o.Dir)
	if err != nil {
		return
	}
	var infos []fs.FileInfo
	total := int64(0)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), ".reel") {
			infos = append(infos, info)
			total += info.Size()
		}
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range infos {
		if total <= s.o.Limit && time.Since(info.ModTime()) < s.o.Age {
			return
		}
		if s.drop(strings.TrimSuffix(info.Name(), ".reel")) {
			total -= info.Size()
		}
	}
}

// Drop removes the reel of a recording that is gone.
func (s *Shelf) Drop(id string) {
	if validID(id) {
		s.drop(id)
	}
}

// drop removes a reel, unless it is being made.
func (s *Shelf) drop(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.reels[id]; t != nil {
		t.mu.Lock()
		busy := t.made != nil
		t.mu.Unlock()
		if busy {
			return false
		}
		delete(s.reels, id)
	}
	return os.Remove(filepath.Join(s.o.Dir, id+".reel")) == nil
}
