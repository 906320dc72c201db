package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Dir keeps objects as files below a directory. Files are 0600, directories 0700. It follows no symbolic
// link out of that directory. Retention and legal hold are not for directories: [Dir.Put] refuses them.
type Dir struct {
	root *os.Root
	name string
}

// tmpPrefix begins the names of unfinished files. No key has a part that begins with a dot.
const tmpPrefix = ".put-"

// OpenDir opens the directory, making it where it is missing. Leftovers of writes that a former process
// began and did not finish are removed when they are older than a day.
func OpenDir(name string) (*Dir, error) {
	if err := os.MkdirAll(name, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	d := &Dir{root: root, name: name}
	if err := d.sweep(); err != nil {
		root.Close()
		return nil, fmt.Errorf("open store: %w", err)
	}
	return d, nil
}

// sweep removes unfinished files. They lie in the top directory only.
func (d *Dir) sweep() error {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasPrefix(e.Name(), tmpPrefix) || time.Since(info.ModTime()) < 24*time.Hour {
			continue
		}
		if err := d.root.Remove(e.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Close releases the directory.
func (d *Dir) Close() error { return d.root.Close() }

// Put writes a new file, flushes it, and gives it its name: temporary file, fsync, rename, fsync of the
// directories.
func (d *Dir) Put(ctx context.Context, key string, data []byte, o PutOptions) error {
	if err := d.put(ctx, key, data, o); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

func (d *Dir) put(ctx context.Context, key string, data []byte, o PutOptions) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if !o.RetainUntil.IsZero() || o.LegalHold || o.Governance {
		return errors.New("a directory cannot retain objects")
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	made, err := d.mkdirs(path.Dir(key))
	if err != nil {
		return err
	}
	tmp, err := d.write(data)
	if err != nil {
		return err
	}
	if err := d.root.Rename(tmp, key); err != nil {
		return errors.Join(err, d.root.Remove(tmp))
	}
	for _, dir := range made {
		if err := d.syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// mkdirs makes the directories of a key and returns those whose entries changed: the key's own, and the
// parents of those it made.
func (d *Dir) mkdirs(dir string) ([]string, error) {
	dirty := []string{dir}
	for p := dir; p != "."; p = path.Dir(p) {
		if _, err := d.root.Stat(p); err == nil {
			break
		}
		dirty = append(dirty, path.Dir(p))
	}
	if dir == "." {
		return dirty, nil
	}
	return dirty, d.root.MkdirAll(dir, 0o700)
}

// write makes a flushed temporary file and returns its name.
func (d *Dir) write(data []byte) (name string, err error) {
	name = tmpPrefix + randomName()
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return "", errors.Join(err, d.root.Remove(name))
	}
	return name, nil
}

func (d *Dir) syncDir(name string) error {
	f, err := d.root.Open(name)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

// Get opens the object's file.
func (d *Dir) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	f, err := d.open(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	return f, nil
}

func (d *Dir) open(ctx context.Context, key string) (*os.File, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	f, err := d.root.Open(key)
	if err != nil {
		return nil, notExist(err)
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(ErrNotExist, err)
	}
	return f, nil
}

// notExist turns the system's words for "there is nothing" into the package's.
func notExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) || strings.HasSuffix(err.Error(), "not a directory") {
		return ErrNotExist
	}
	return err
}

// Stat looks at the object's file.
func (d *Dir) Stat(ctx context.Context, key string) (Object, error) {
	f, err := d.open(ctx, key)
	if err != nil {
		return Object{}, fmt.Errorf("stat %s: %w", key, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Object{}, fmt.Errorf("stat %s: %w", key, err)
	}
	return Object{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil
}

// List walks the files below the prefix in the order of their keys. It reads one directory at a time.
func (d *Dir) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		if err := checkPrefix(prefix); err != nil {
			yield(Object{}, fmt.Errorf("list: %w", err))
			return
		}
		dir := path.Dir(prefix + "x")
		if err := d.walk(ctx, dir, prefix, yield); err != nil && err != errStop {
			yield(Object{}, fmt.Errorf("list %s: %w", prefix, err))
		}
	}
}

var errStop = errors.New("the caller has enough")

func (d *Dir) walk(ctx context.Context, dir, prefix string, yield func(Object, error) bool) error {
	entries, err := fs.ReadDir(d.root.FS(), dir)
	if err != nil {
		if errors.Is(notExist(err), ErrNotExist) {
			return nil // removed meanwhile, or never there
		}
		return err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(sortName(a), sortName(b)) })
	for _, e := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		key := path.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") || !strings.HasPrefix(key, prefix) && !strings.HasPrefix(prefix, key+"/") {
			continue
		}
		if e.IsDir() {
			if err := d.walk(ctx, key, prefix, yield); err != nil {
				return err
			}
			continue
		}
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if !yield(Object{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil) {
			return errStop
		}
	}
	return nil
}

// sortName orders a directory among files as its keys are ordered: by the slash behind its name.
func sortName(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

// Delete removes the object's file and the directories that it leaves empty.
func (d *Dir) Delete(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("delete %s: %w", key, context.Cause(ctx))
	}
	if info, err := d.root.Lstat(key); err != nil || !info.Mode().IsRegular() {
		if err != nil && notExist(err) != ErrNotExist {
			return fmt.Errorf("delete %s: %w", key, err)
		}
		return nil // nothing, or a directory on the way to other objects
	}
	if err := d.root.Remove(key); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	for p := path.Dir(key); p != "."; p = path.Dir(p) {
		if d.root.Remove(p) != nil { // not empty, or gone
			break
		}
	}
	return nil
}

// Purge is Delete: a directory keeps nothing else.
func (d *Dir) Purge(ctx context.Context, key string) error { return d.Delete(ctx, key) }

// String names the store in logs.
func (d *Dir) String() string { return "directory " + filepath.Clean(d.name) }
