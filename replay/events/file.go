package events

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// File appends events to a file, one a line, flushed to disk before they count as taken. It is safe to rename
// the file away, as log rotation does: the next batch begins a new one.
type File struct {
	name string
	f    *os.File
}

// OpenFile opens the file, making it readable by its owner alone where it is missing.
func OpenFile(name string) (*File, error) {
	s := &File{name: name}
	if err := s.open(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *File) open() error {
	f, err := os.OpenFile(s.name, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open events file: %w", err)
	}
	s.f = f
	return s.whole()
}

// whole ends a line that a former life of the gate, or a full disk, left without its end.
func (s *File) whole() error {
	info, err := s.f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	var last [1]byte
	if _, err := s.f.ReadAt(last[:], info.Size()-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		_, err = s.f.Write([]byte{'\n'})
	}
	return err
}

// renamed says whether the name means another file now, or none.
func (s *File) renamed() bool {
	there, err := os.Stat(s.name)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	mine, err := s.f.Stat()
	return err == nil && !os.SameFile(there, mine)
}

// Send appends lines and flushes them.
func (s *File) Send(_ context.Context, lines [][]byte) error {
	if s.f != nil && s.renamed() {
		s.f.Close()
		s.f = nil
	}
	if s.f == nil {
		if err := s.open(); err != nil {
			return err
		}
	}
	_, err := s.f.Write(joined(lines))
	if err == nil {
		err = s.f.Sync()
	}
	if err != nil {
		s.f.Close()
		s.f = nil // opened again, and its last line ended, before the next try
		return fmt.Errorf("events file: %w", err)
	}
	return nil
}

func joined(lines [][]byte) []byte {
	return append(bytes.Join(lines, []byte{'\n'}), '\n')
}

// Close closes the file.
func (s *File) Close() error {
	if s.f == nil {
		return nil
	}
	return s.f.Close()
}

// Stream writes events to w, one a line: standard output, which whoever started the gate collects.
type Stream struct{ W io.Writer }

// Send writes lines.
func (s Stream) Send(_ context.Context, lines [][]byte) error {
	if _, err := s.W.Write(joined(lines)); err != nil {
		return fmt.Errorf("events: %w", err)
	}
	return nil
}

// Close does nothing: the stream is not ours.
func (Stream) Close() error { return nil }
