package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/sallyport-ssh/sallyport/replay/cast"
)

// ErrShipping says that a gate still ships a recording, or did a moment ago.
var ErrShipping = errors.New("a gate still ships this recording")

// quietFor is how long nothing of a recording must have come before it is adopted.
const quietFor = 2 * time.Minute

// Adopt seals, in the store, what a gate left there that never comes back, and returns the seal. The state is
// truncated, because what that gate had not shipped yet, some seconds at most, is not there; where the gate
// itself had sealed it, its seal is returned and nothing changes. A recording that is damaged is left alone.
// Should the gate come back after all, it finds the seal and sets its own copy aside.
func (l *Library) Adopt(ctx context.Context, id string, signer Signer, keep Keep) (Seal, error) {
	seal, err := l.adopt(ctx, id, signer, keep, time.Now())
	if err != nil {
		return Seal{}, fmt.Errorf("adopt recording %s: %w", id, err)
	}
	return seal, nil
}

func (l *Library) adopt(ctx context.Context, id string, signer Signer, keep Keep, now time.Time) (Seal, error) {
	if !sessionID.MatchString(id) {
		return Seal{}, ErrSessionID
	}
	store := &Library{Store: l.Store, Roots: l.Roots} // without the spool
	covered, err := store.quiet(ctx, id, now)
	if err != nil {
		return Seal{}, err
	}
	f, err := store.fetch(ctx, id, covered)
	if err != nil {
		return Seal{}, err
	}
	defer f.Close()
	m, err := cast.Examine(io.NewSectionReader(f, 0, covered), cast.VerifyOptions{Roots: l.Roots, Session: id})
	if err != nil {
		return Seal{}, err
	}
	if m.Report.Sealed && m.Dropped == 0 {
		return *m.Report.Seal, nil
	}
	if m.Damaged || m.Keep != covered {
		return Seal{}, fmt.Errorf("it is damaged, and left as it is: %s", m.Report.Why)
	}
	key, chain, err := signer.NewSessionKey(ctx, id)
	if err != nil {
		return Seal{}, fmt.Errorf("session key: %w", err)
	}
	seal, err := m.Seal(f, cast.RecoverOptions{Key: key, Chain: chain, Reason: "the gate that recorded it never came back",
		Failed: fmt.Sprintf("what its gate recorded behind byte %d was not shipped", covered)})
	if err != nil {
		return Seal{}, err
	}
	tail := make([]byte, seal.Size-covered)
	if _, err := io.ReadFull(io.NewSectionReader(f, covered, seal.Size-covered), tail); err != nil {
		return Seal{}, err
	}
	e := encoders.Get().(*zstd.Encoder)
	defer encoders.Put(e)
	return seal, l.Store.Put(ctx, segmentKey(id, covered, seal.Size), e.EncodeAll(tail, nil), keep.put(now))
}

// quiet returns how much the store has of a recording that nobody ships any more.
func (l *Library) quiet(ctx context.Context, id string, now time.Time) (int64, error) {
	for o, err := range l.Store.List(ctx, casts+id+"/") {
		if err != nil {
			return 0, err
		}
		if now.Sub(o.Modified) < quietFor {
			return 0, ErrShipping
		}
	}
	covered, err := l.covered(ctx, id)
	if err == nil && covered == 0 {
		err = ErrNoSession
	}
	return covered, err
}

// fetch copies a recording from the store into a file that has no name.
func (l *Library) fetch(ctx context.Context, id string, size int64) (*os.File, error) {
	f, err := os.CreateTemp("", "adopt-")
	if err != nil {
		return nil, err
	}
	err = os.Remove(f.Name())
	s := l.stored(ctx, id)
	defer s.Close()
	if err == nil {
		_, err = io.CopyN(f, s, size)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// adopted says whether somebody else has sealed, in the store, a recording of which this gate has size bytes.
func (l *Library) adopted(ctx context.Context, id string, size int64) (bool, error) {
	var last segment
	for s, err := range l.segments(ctx, id) {
		if err != nil {
			return false, err
		}
		last = s
	}
	if last.to == 0 || last.to == size {
		return false, nil
	}
	body, err := l.Store.Get(ctx, segmentKey(id, last.from, last.to))
	if err != nil {
		return false, err
	}
	defer body.Close()
	d, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2*segmentSize))
	if err != nil {
		return false, err
	}
	defer d.Close()
	text, err := io.ReadAll(io.LimitReader(d, 2*segmentSize))
	if err != nil {
		return false, err
	}
	text = bytes.TrimSuffix(text, []byte{'\n'})
	return cast.IsSeal(text[bytes.LastIndexByte(text, '\n')+1:]), nil
}
