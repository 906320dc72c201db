// Package store keeps finished pieces of recordings: in a directory ([Dir]) or in an S3 bucket ([S3]).
//
// Both keep the same promises, and one test suite holds them to these.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// ErrNotExist is returned, wrapped, for a key that holds nothing.
var ErrNotExist = errors.New("no such object")

// ErrRetained is wrapped by the [*RetainedError] of an object that may not be removed.
var ErrRetained = errors.New("object is retained")

// A RetainedError says what keeps an object from being removed.
type RetainedError struct {
	Key       string
	Until     time.Time // object lock; zero: none that is known
	LegalHold bool
	Err       error // the store's own words, where it refused
}

func (e *RetainedError) Error() string {
	switch {
	case e.LegalHold:
		return e.Key + " is under legal hold"
	case !e.Until.IsZero():
		return fmt.Sprintf("%s is locked until %s", e.Key, e.Until.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("%s is protected by the store: %v", e.Key, e.Err)
}

// Unwrap is [ErrRetained].
func (e *RetainedError) Unwrap() error { return ErrRetained }

// ErrKey is returned, wrapped, for a key that breaks the rules of [CheckKey].
var ErrKey = errors.New("invalid object key")

// Object is what a listing says of one object.
type Object struct {
	Key      string
	Size     int64
	Modified time.Time

	// Known to Stat alone, where the store has such a thing.
	RetainUntil time.Time // object lock; zero: none
	LegalHold   bool
	Encryption  string // server-side: "AES256" or "aws:kms"; "" none, or not told
	KMSKeyID    string
}

// Retained says whether the object may not be removed at t.
func (o Object) Retained(t time.Time) bool { return o.LegalHold || o.RetainUntil.After(t) }

// PutOptions say how an object is to be kept. The zero value is plain.
type PutOptions struct {
	ContentType string
	RetainUntil time.Time // object lock; zero: the bucket's default
	Governance  bool      // lock in governance mode, which privileged users of the store can lift; else compliance
	LegalHold   bool
}

// A Store keeps objects under slash-separated keys. Its methods are safe for concurrent use.
type Store interface {
	// Put stores data under key, replacing what was there. When it returns nil the object is durable; when
	// it returns an error the object may or may not be there. Others see the old object or the new one and
	// nothing between.
	Put(ctx context.Context, key string, data []byte, o PutOptions) error
	// Get returns the object's bytes. The caller closes it. [ErrNotExist] where there is none; with some
	// stores that comes from the first Read.
	Get(ctx context.Context, key string) (io.ReadCloser, error)
	// Stat returns the object's size and time, or [ErrNotExist].
	Stat(ctx context.Context, key string) (Object, error)
	// List yields the objects whose keys begin with prefix in the order of their keys. An error ends it.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
	// Delete removes the object. Removing what is not there is no error.
	Delete(ctx context.Context, key string) error
	// Purge is Delete for good: where the store keeps versions, of all of them. It is a [*RetainedError]
	// where a lock or a legal hold forbids it.
	Purge(ctx context.Context, key string) error
}

// CheckKey says whether key may name an object: at most 512 bytes, one or more parts of a-z, A-Z, 0-9 and
// "._-" joined by single slashes, none of which begins with a dot.
func CheckKey(key string) error {
	if key == "" || len(key) > 512 {
		return fmt.Errorf("%w: length %d", ErrKey, len(key))
	}
	first := true
	for _, c := range []byte(key) {
		switch {
		case c == '/':
			if first {
				return fmt.Errorf("%w: %q has an empty part", ErrKey, key)
			}
			first = true
			continue
		case c == '.' && first:
			return fmt.Errorf("%w: %q has a part that begins with a dot", ErrKey, key)
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return fmt.Errorf("%w: %q", ErrKey, key)
		}
		first = false
	}
	if first {
		return fmt.Errorf("%w: %q ends in a slash", ErrKey, key)
	}
	return nil
}

// checkPrefix says whether prefix can be the beginning of a key.
func checkPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	return CheckKey(prefix + "x")
}
