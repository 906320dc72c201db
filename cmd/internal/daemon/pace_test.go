package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// work reads a recording, and is busy for a while after each piece.
func work(t *testing.T, ctx context.Context, size int, each time.Duration) (took time.Duration, err error) {
	t.Helper()
	want := bytes.Repeat([]byte("x"), size)
	open := paced(func(context.Context, string, int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(want)), nil
	})
	r, err := open(ctx, "session", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	begun := time.Now()
	read := 0
	for p := make([]byte, 10); err == nil; {
		var n int
		n, err = r.Read(p)
		read += n
		time.Sleep(each) // the work
	}
	if err == io.EOF && read != size {
		t.Errorf("read %d bytes of %d", read, size)
	}
	return time.Since(begun), err
}

// Reading takes its share of the time and no more, and what is small is read at once.
func TestPacedReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if took, err := work(t, t.Context(), 20, 3*time.Millisecond); took != 9*time.Millisecond || err != io.EOF {
			t.Errorf("a small recording took %v, %v", took, err)
		}
		took, err := work(t, t.Context(), 1000, 5*time.Millisecond)
		if worked := 101 * 5 * time.Millisecond; err != io.EOF || took < (readShare-1)*worked || took > readShare*worked {
			t.Errorf("%v of work took %v, %v", worked, took, err)
		}
	})
}

// One that rests is stopped at once.
func TestPacedReadingStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopping := errors.New("stopping")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(30*time.Second, func() { cancel(stopping) })
		if took, err := work(t, ctx, 1000, time.Minute); err != stopping || took > 3*time.Minute {
			t.Errorf("stopped after %v with %v", took, err)
		}
	})
}
