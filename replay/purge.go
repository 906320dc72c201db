package replay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/store"
)

// ReelsDir is the folder beside the spooled recordings that package reel keeps its files in. They hold screens of
// the recording, and go with it.
const ReelsDir = "reels"

// ErrSpooled says that a recording is still in the spool of a gate.
var ErrSpooled = errors.New("the recording is still in the spool")

// Removable says whether nothing keeps a recording from being removed: a [*store.RetainedError] where an
// object lock or a legal hold does, ErrSpooled where a gate has not let go of it.
func (l *Library) Removable(ctx context.Context, id string) error {
	_, err := l.removable(ctx, id)
	return err
}

func (l *Library) removable(ctx context.Context, id string) (keys []string, err error) {
	if !sessionID.MatchString(id) {
		return nil, ErrSessionID
	}
	if l.Spool != "" {
		if _, err := os.Lstat(spoolPath(l.Spool, id)); err == nil {
			return nil, ErrSpooled
		}
	}
	for o, err := range l.Store.List(ctx, casts+id+"/") {
		if err != nil {
			return nil, fmt.Errorf("remove recording %s: %w", id, err)
		}
		keys = append(keys, o.Key)
	}
	now := time.Now()
	for _, key := range keys {
		o, err := l.Store.Stat(ctx, key)
		switch {
		case errors.Is(err, store.ErrNotExist): // removed meanwhile
		case err != nil:
			return nil, fmt.Errorf("remove recording %s: %w", id, err)
		case o.Retained(now):
			return nil, fmt.Errorf("remove recording %s: %w", id, &store.RetainedError{Key: key, Until: o.RetainUntil, LegalHold: o.LegalHold})
		}
	}
	return keys, nil
}

// Remove removes a recording from the store for good, and returns how many objects that were. Either all of
// it may be removed or nothing is. It does not look at how old the recording is, and writes nothing down:
// that is the caller's, beforehand. What fails half way is completed by calling it again.
func (l *Library) Remove(ctx context.Context, id string) (objects int, err error) {
	keys, err := l.removable(ctx, id)
	if err != nil {
		return 0, err
	}
	if l.Spool != "" {
		if err := os.Remove(filepath.Join(l.Spool, ReelsDir, id+".reel")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("remove recording %s: %w", id, err)
		}
	}
	for _, key := range keys {
		if err := l.Store.Purge(ctx, key); err != nil {
			return objects, fmt.Errorf("remove recording %s: %w", id, err)
		}
		objects++
	}
	return objects, nil
}
