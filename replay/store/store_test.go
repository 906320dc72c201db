package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport-ssh/sallyport/replay/store"
)

// suite is what every store is held to.
func suite(t *testing.T, s store.Store) {
	t.Run("put and get", func(t *testing.T) { putAndGet(t, s) })
	t.Run("nothing there", func(t *testing.T) { nothingThere(t, s) })
	t.Run("list", func(t *testing.T) { list(t, s) })
	t.Run("delete", func(t *testing.T) { remove(t, s) })
	t.Run("keys", func(t *testing.T) { keys(t, s) })
	t.Run("concurrent", func(t *testing.T) { concurrent(t, s) })
	t.Run("ended context", func(t *testing.T) { ended(t, s) })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, s store.Store, key, data string) {
	t.Helper()
	must(t, s.Put(t.Context(), key, []byte(data), store.PutOptions{}))
}

func get(t testing.TB, s store.Store, key string) (string, error) {
	t.Helper()
	r, err := s.Get(t.Context(), key)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

func putAndGet(t *testing.T, s store.Store) {
	all := make([]byte, 6<<20) // above the size from which clients like to use multipart
	for i := range all {
		all[i] = byte(i >> 3 * i)
	}
	for _, tt := range []struct{ name, key, data string }{
		{"text", "pg/a/1.zst", "hello"},
		{"empty", "pg/a/2.zst", ""},
		{"large", "pg/a/3.zst", string(all)},
		{"at the top", "pg-top", "x"},
	} {
		put(t, s, tt.key, "what was there before")
		put(t, s, tt.key, tt.data)
		got, err := get(t, s, tt.key)
		if err != nil || got != tt.data {
			t.Errorf("%s: got %d bytes, %v, want %d", tt.name, len(got), err, len(tt.data))
		}
		o, err := s.Stat(t.Context(), tt.key)
		if err != nil || o.Size != int64(len(tt.data)) || o.Key != tt.key || o.Modified.IsZero() {
			t.Errorf("%s: stat = %+v, %v", tt.name, o, err)
		}
	}
}

func nothingThere(t *testing.T, s store.Store) {
	put(t, s, "nt/a/b", "x")
	for _, key := range []string{"nt/none", "nt/a", "nt/a/b/c", "nothing"} {
		if _, err := get(t, s, key); !errors.Is(err, store.ErrNotExist) {
			t.Errorf("get %s: %v", key, err)
		}
		if _, err := s.Stat(t.Context(), key); !errors.Is(err, store.ErrNotExist) {
			t.Errorf("stat %s: %v", key, err)
		}
		if err := s.Delete(t.Context(), key); err != nil {
			t.Errorf("delete %s: %v", key, err)
		}
	}
	if got, err := get(t, s, "nt/a/b"); got != "x" {
		t.Errorf("a neighbour was lost: %q, %v", got, err)
	}
}

func list(t *testing.T, s store.Store) {
	want := []string{"ls/a-1/1", "ls/a.1/1", "ls/a/1", "ls/a/10", "ls/a/2", "ls/ab", "ls/b/1"}
	for _, k := range slices.Backward(want) {
		put(t, s, k, k)
	}
	for i := range 1100 { // more than one page of S3
		put(t, s, fmt.Sprintf("pages/%06d", i), "x")
	}
	for _, tt := range []struct {
		prefix string
		want   []string
	}{
		{"ls/", want},
		{"ls/a", want[:6]},
		{"ls/a/", want[2:5]},
		{"ls/a/1", want[2:4]},
		{"ls/none/", nil},
	} {
		got := keysOf(t, s, tt.prefix)
		if !slices.Equal(got, tt.want) {
			t.Errorf("list %q = %v, want %v", tt.prefix, got, tt.want)
		}
	}
	if got := keysOf(t, s, "pages/"); len(got) != 1100 || !slices.IsSorted(got) {
		t.Errorf("listed %d of 1100, sorted %t", len(got), slices.IsSorted(got))
	}
	for o, err := range s.List(t.Context(), "pages/") {
		if must(t, err); o.Size != 1 {
			t.Errorf("listed as %+v", o)
		}
		break // a caller that has enough
	}
}

func keysOf(t testing.TB, s store.Store, prefix string) (keys []string) {
	t.Helper()
	for o, err := range s.List(t.Context(), prefix) {
		must(t, err)
		keys = append(keys, o.Key)
	}
	return keys
}

func remove(t *testing.T, s store.Store) {
	put(t, s, "rm/a/1", "x")
	put(t, s, "rm/a/2", "y")
	must(t, s.Delete(t.Context(), "rm/a/1"))
	if got := keysOf(t, s, "rm/"); !slices.Equal(got, []string{"rm/a/2"}) {
		t.Errorf("left: %v", got)
	}
	must(t, s.Delete(t.Context(), "rm/a/2"))
	put(t, s, "rm/a", "now a file where a directory was")
	if got, err := get(t, s, "rm/a"); err != nil || got == "" {
		t.Errorf("got %q, %v", got, err)
	}
}

// badKeys reach for something that is no object of the store.
var badKeys = []string{
	"", "/", "/etc/passwd", "../x", "a/../../x", "a/./b", "a//b", "a/", ".hidden", "a/.put-x", "a\\b", "a\x00b", "a b", "a\nb",
	"..", "C:x", "a/\u202e", strings.Repeat("a", 513), "%2e%2e/x",
}

func keys(t *testing.T, s store.Store) {
	ctx := t.Context()
	for _, key := range badKeys {
		_, getErr := s.Get(ctx, key)
		_, statErr := s.Stat(ctx, key)
		for what, err := range map[string]error{
			"put": s.Put(ctx, key, []byte("x"), store.PutOptions{}), "get": getErr, "stat": statErr, "delete": s.Delete(ctx, key),
		} {
			if !errors.Is(err, store.ErrKey) {
				t.Errorf("%s %q: %v, want ErrKey", what, key, err)
			}
		}
	}
	for _, prefix := range []string{"../", "/", "a//", ".put"} {
		for _, err := range s.List(ctx, prefix) {
			if !errors.Is(err, store.ErrKey) {
				t.Errorf("list %q: %v, want ErrKey", prefix, err)
			}
		}
	}
}

// concurrent: readers see one of the objects that were put, whole.
func concurrent(t *testing.T, s store.Store) {
	version := func(i int) string { return strings.Repeat(fmt.Sprint(i%10), 64<<10) }
	put(t, s, "cc/x", version(0))
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 10 {
				if err := s.Put(t.Context(), "cc/x", []byte(version(w*10+i)), store.PutOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 10 {
				got, err := get(t, s, "cc/x")
				if err != nil || len(got) != 64<<10 || got != strings.Repeat(got[:1], len(got)) {
					t.Errorf("read %d bytes, %v", len(got), err)
				}
			}
		})
	}
	wg.Wait()
}

func ended(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("gone"))
	if err := s.Put(ctx, "ec/x", []byte("x"), store.PutOptions{}); err == nil {
		t.Error("put with an ended context")
	}
	if _, err := s.Get(ctx, "ec/x"); err == nil {
		t.Error("get with an ended context")
	}
	var last error
	for _, err := range s.List(ctx, "ls/") {
		last = err
	}
	if last == nil {
		t.Error("list with an ended context")
	}
}

func FuzzCheckKey(f *testing.F) {
	for _, k := range append([]string{"a/b.c-d_e/1"}, badKeys...) {
		f.Add(k)
	}
	dir := f.TempDir()
	d, err := store.OpenDir(dir + "/store")
	must(f, err)
	defer d.Close()
	f.Fuzz(func(t *testing.T, key string) {
		if store.CheckKey(key) != nil {
			return
		}
		for _, part := range strings.Split(key, "/") {
			if part == "" || part[0] == '.' {
				t.Fatalf("%q is taken", key)
			}
		}
		if bytes.ContainsAny([]byte(key), "\x00\\:% ") {
			t.Fatalf("%q is taken", key)
		}
	})
}
