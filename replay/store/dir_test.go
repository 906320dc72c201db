package store_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/store"
)

func openDir(t testing.TB, name string) *store.Dir {
	t.Helper()
	d, err := store.OpenDir(name)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

func TestDir(t *testing.T) {
	suite(t, openDir(t, filepath.Join(t.TempDir(), "deep", "store")))
}

func TestDirModes(t *testing.T) {
	name := filepath.Join(t.TempDir(), "store")
	put(t, openDir(t, name), "a/b/c", "x")
	err := filepath.WalkDir(name, func(p string, e fs.DirEntry, err error) error {
		must(t, err)
		info, err := e.Info()
		must(t, err)
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s is %o, want %o", p, info.Mode().Perm(), want)
		}
		return nil
	})
	must(t, err)
}

func TestDirLeavesNothingUnfinished(t *testing.T) {
	name := filepath.Join(t.TempDir(), "store")
	d := openDir(t, name)
	must(t, os.MkdirAll(filepath.Join(name, "a", "b"), 0o700))
	if err := d.Put(t.Context(), "a/b", []byte("x"), store.PutOptions{}); err == nil {
		t.Fatal("a directory was replaced by a file")
	}
	entries, err := os.ReadDir(name)
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestDirSweepsOldLeftovers(t *testing.T) {
	name := t.TempDir()
	for file, age := range map[string]time.Duration{".put-old": 48 * time.Hour, ".put-new": time.Minute, "object": 48 * time.Hour} {
		p := filepath.Join(name, file)
		must(t, os.WriteFile(p, nil, 0o600))
		must(t, os.Chtimes(p, time.Time{}, time.Now().Add(-age)))
	}
	openDir(t, name)
	for file, want := range map[string]bool{".put-old": false, ".put-new": true, "object": true} {
		if _, err := os.Stat(filepath.Join(name, file)); (err == nil) != want {
			t.Errorf("%s exists: %t, want %t", file, err == nil, want)
		}
	}
}

func TestDirFollowsNoLinkOut(t *testing.T) {
	base := t.TempDir()
	out := filepath.Join(base, "out")
	must(t, os.MkdirAll(out, 0o700))
	must(t, os.WriteFile(filepath.Join(out, "secret"), []byte("secret"), 0o600))
	name := filepath.Join(base, "store")
	d := openDir(t, name)
	must(t, os.Symlink(out, filepath.Join(name, "link")))
	must(t, os.Symlink(filepath.Join(out, "secret"), filepath.Join(name, "file")))
	for _, key := range []string{"link/secret", "file"} {
		if got, err := get(t, d, key); err == nil {
			t.Errorf("get %s = %q", key, got)
		}
	}
	if err := d.Put(t.Context(), "link/new", []byte("x"), store.PutOptions{}); err == nil {
		t.Error("put through a link")
	}
	if got := keysOf(t, d, ""); len(got) != 0 {
		t.Errorf("listed: %v", got)
	}
}

func TestDirCannotRetain(t *testing.T) {
	d := openDir(t, t.TempDir())
	for _, o := range []store.PutOptions{{LegalHold: true}, {RetainUntil: time.Now().Add(time.Hour)}} {
		if err := d.Put(t.Context(), "x", nil, o); err == nil || !strings.Contains(err.Error(), "retain") {
			t.Errorf("put with %+v: %v", o, err)
		}
	}
}

func TestDirThatVanished(t *testing.T) {
	name := filepath.Join(t.TempDir(), "store")
	d := openDir(t, name)
	put(t, d, "a/b", "x")
	must(t, os.RemoveAll(name))
	if err := d.Put(t.Context(), "a/c", []byte("x"), store.PutOptions{}); err == nil {
		t.Error("put into a directory that is gone")
	}
	if _, err := get(t, d, "a/b"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("get: %v", err)
	}
}
