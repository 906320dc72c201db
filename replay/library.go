package replay

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/replay/store"
)

// Library reads recordings wherever they are. It changes nothing, starts no goroutine and may look at the
// spool of a running gate.
type Library struct {
	Spool string // "": look into the store alone
	Store store.Store
	Roots *x509.CertPool
}

// A SegmentError says that a piece of a recording is missing from the store or is not what was put there.
type SegmentError struct {
	Session  string
	From, To int64 // the bytes of the recording; To is 0 when it is not known
	Why      string
}

func (e *SegmentError) Error() string {
	return fmt.Sprintf("recording of session %s, bytes %d to %d: %s", e.Session, e.From, e.To, e.Why)
}

const casts = "casts/"

// segmentKey names a segment by the bytes of the recording that it holds, so that the order of the keys is
// the order of the recording and a missing one shows.
func segmentKey(id string, from, to int64) string {
	return fmt.Sprintf("%s%s/%016d-%016d.zst", casts, id, from, to)
}

func parseSegmentKey(key string) (id string, from, to int64, ok bool) {
	rest, ok1 := strings.CutPrefix(key, casts)
	rest, ok2 := strings.CutSuffix(rest, ".zst")
	id, span, ok3 := strings.Cut(rest, "/")
	a, b, ok4 := strings.Cut(span, "-")
	from, err1 := strconv.ParseInt(a, 10, 64)
	to, err2 := strconv.ParseInt(b, 10, 64)
	ok = ok1 && ok2 && ok3 && ok4 && err1 == nil && err2 == nil && from >= 0 && to > from && sessionID.MatchString(id)
	return id, from, to, ok && key == segmentKey(id, from, to)
}

// Open returns the recording of a session as far as it is written: from the spool, or from the store.
// Errors of reading from the store that mean damage are a [*SegmentError].
func (l *Library) Open(ctx context.Context, id string) (io.ReadCloser, error) {
	if !sessionID.MatchString(id) {
		return nil, ErrSessionID
	}
	if l.Spool != "" {
		f, err := os.Open(spoolPath(l.Spool, id))
		if err == nil {
			return upToNow(f)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open recording: %w", err)
		}
	}
	s := l.stored(ctx, id)
	// Looking at the first byte tells a session without recording from one with.
	if _, err := s.buf.Peek(1); err != nil {
		s.Close()
		if err == io.EOF {
			err = ErrNoSession
		}
		return nil, fmt.Errorf("open recording %s: %w", id, err)
	}
	return s, nil
}

// upToNow reads a file up to the size it has.
func upToNow(f *os.File) (io.ReadCloser, error) {
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open recording: %w", err)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(f, info.Size()), f}, nil
}

// stored is a recording read from its segments, one after the other.
type stored struct {
	ctx  context.Context
	l    *Library
	id   string
	next func() (segment, error, bool)
	stop func()
	buf  *bufio.Reader // over read

	pos  int64 // bytes given
	body io.ReadCloser
	dec  *zstd.Decoder
	left int64 // of the segment
	seg  segment
	err  error
}

func (l *Library) stored(ctx context.Context, id string) *stored {
	s := &stored{ctx: ctx, l: l, id: id}
	s.next, s.stop = iter.Pull2(l.segments(ctx, id))
	s.buf = bufio.NewReaderSize(readerFunc(s.read), 64<<10)
	return s
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Read gives the recording's bytes.
func (s *stored) Read(p []byte) (int, error) { return s.buf.Read(p) }

// Close ends the listing and the segment under way.
func (s *stored) Close() error {
	s.stop()
	if s.dec != nil {
		s.dec.Close()
	}
	if s.body != nil {
		return s.body.Close()
	}
	return nil
}

func (s *stored) read(p []byte) (int, error) {
	for s.err == nil {
		if s.body == nil {
			s.err = s.open()
			continue
		}
		n, err := s.dec.Read(p[:min(int64(len(p)), s.left+1)])
		s.left -= int64(n)
		if n > 0 && s.left >= 0 {
			s.pos += int64(n)
			return n, nil
		}
		switch {
		case s.left < 0 || err == io.EOF && s.left > 0:
			s.err = s.damaged("holds more or less than its name says")
		case err == io.EOF:
			s.err = s.body.Close()
			s.body = nil
		case err != nil && s.ctx.Err() != nil:
			s.err = context.Cause(s.ctx)
		case err != nil:
			s.err = s.damaged(err.Error())
		}
	}
	return 0, s.err
}

func (s *stored) damaged(why string) error {
	return &SegmentError{Session: s.id, From: s.seg.from, To: s.seg.to, Why: why}
}

// open goes on to the next segment.
func (s *stored) open() error {
	seg, err, ok := s.next()
	if !ok {
		return io.EOF
	}
	if err != nil {
		return err
	}
	s.seg, s.left = seg, seg.to-seg.from
	if seg.from != s.pos {
		return &SegmentError{Session: s.id, From: s.pos, To: seg.from, Why: "is missing from the store"}
	}
	body, err := s.l.Store.Get(s.ctx, segmentKey(s.id, seg.from, seg.to))
	if err != nil {
		return err
	}
	s.body = body
	if s.dec == nil {
		s.dec, err = zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderLowmem(true))
		return err
	}
	return s.dec.Reset(body)
}

// segment is a piece of a recording in the store.
type segment struct{ from, to int64 }

// segments yields the pieces that, one behind the other, are the recording. Where an attempt to store that
// was reported as failed left a piece behind, a later one from the same byte holds it as well, and more. A
// gap is not skipped: the piece behind it is yielded, and begins where it begins.
func (l *Library) segments(ctx context.Context, id string) iter.Seq2[segment, error] {
	return func(yield func(segment, error) bool) {
		var best segment
		pos := int64(0)
		for o, err := range l.Store.List(ctx, casts+id+"/") {
			if err != nil {
				yield(segment{}, err)
				return
			}
			_, from, to, ok := parseSegmentKey(o.Key)
			switch {
			case !ok || from < pos:
			case best.to == 0 || from == best.from:
				best = segment{from, to} // keys are in order: of one beginning, the longest comes last
			case from >= best.to:
				if !yield(best, nil) {
					return
				}
				pos, best = best.to, segment{from, to}
			}
		}
		if best.to > 0 {
			yield(best, nil)
		}
	}
}

// covered returns up to which byte the store has the recording without a gap.
func (l *Library) covered(ctx context.Context, id string) (int64, error) {
	pos := int64(0)
	for s, err := range l.segments(ctx, id) {
		if err != nil {
			return 0, err
		}
		if s.from != pos {
			break
		}
		pos = s.to
	}
	return pos, nil
}

// Verify checks the recording of a session against its signatures and, where sealHash is not empty, against
// the seal that the ledger has. An error means that nothing was decided; it is [ErrNoSession] when there is
// no recording at all.
func (l *Library) Verify(ctx context.Context, id, sealHash string) (cast.Report, error) {
	f, err := l.Open(ctx, id)
	if err != nil {
		var bad *SegmentError
		if errors.As(err, &bad) {
			return bad.report(), nil
		}
		return cast.Report{}, err
	}
	defer f.Close()
	report, err := cast.Verify(f, cast.VerifyOptions{Roots: l.Roots, Session: id, Hash: sealHash})
	var bad *SegmentError
	if errors.As(err, &bad) {
		return bad.report(), nil
	}
	_, fromStore := f.(*stored)
	report.Live = !fromStore && report.State == cast.Truncated && !report.Sealed
	return report, err
}

func (e *SegmentError) report() cast.Report {
	return cast.Report{State: cast.Tampered, Session: e.Session, Why: e.Error(), BadOffset: e.From, BadUntil: e.To}
}

// Sessions yields the ids of all recordings in the store and in the spool, each once.
func (l *Library) Sessions(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		spooled, err := l.spooled()
		if err != nil {
			yield("", err)
			return
		}
		for _, id := range spooled {
			if !yield(id, nil) {
				return
			}
		}
		last := ""
		for o, err := range l.Store.List(ctx, casts) {
			if err != nil {
				yield("", err)
				return
			}
			id, _, _, ok := parseSegmentKey(o.Key)
			if !ok || id == last || slices.Contains(spooled, id) {
				continue
			}
			if last = id; !yield(id, nil) {
				return
			}
		}
	}
}

func (l *Library) spooled() (ids []string, err error) {
	if l.Spool == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(l.Spool)
	if err != nil {
		return nil, fmt.Errorf("list spool: %w", err)
	}
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), spoolSuffix); ok && sessionID.MatchString(id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
