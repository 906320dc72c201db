package store

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Observe returns s with each request told to note: "put", "get", "stat", "list", "delete" or "purge". That there
// is no such object is no error. Note must not block. Of a Get it is the time to the answer, not to its end.
func Observe(s Store, note func(op string, took time.Duration, err error)) Store {
	return &observed{s, note}
}

type observed struct {
	s    Store
	note func(op string, took time.Duration, err error)
}

func (o *observed) told(op string, since time.Time, err error) {
	if errors.Is(err, ErrNotExist) || errors.Is(err, ErrRetained) {
		err = nil
	}
	o.note(op, time.Since(since), err)
}

func (o *observed) Put(ctx context.Context, key string, data []byte, p PutOptions) error {
	since := time.Now()
	err := o.s.Put(ctx, key, data, p)
	o.told("put", since, err)
	return err
}

func (o *observed) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	since := time.Now()
	r, err := o.s.Get(ctx, key)
	o.told("get", since, err)
	return r, err
}

func (o *observed) Stat(ctx context.Context, key string) (Object, error) {
	since := time.Now()
	found, err := o.s.Stat(ctx, key)
	o.told("stat", since, err)
	return found, err
}

func (o *observed) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		since := time.Now()
		var failed error
		defer func() { o.told("list", since, failed) }()
		for found, err := range o.s.List(ctx, prefix) {
			failed = err
			if !yield(found, err) {
				return
			}
		}
	}
}

func (o *observed) Delete(ctx context.Context, key string) error {
	since := time.Now()
	err := o.s.Delete(ctx, key)
	o.told("delete", since, err)
	return err
}

func (o *observed) Purge(ctx context.Context, key string) error {
	since := time.Now()
	err := o.s.Purge(ctx, key)
	o.told("purge", since, err)
	return err
}

// Close closes the store, where it can be.
func (o *observed) Close() error {
	if c, ok := o.s.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// String names the store in logs.
func (o *observed) String() string {
	if n, ok := o.s.(interface{ String() string }); ok {
		return n.String()
	}
	return "store"
}
