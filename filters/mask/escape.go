package mask

import "bytes"

const (
	esc = 0x1b
	// maxEscape is the longest control sequence that is skipped; terminals give up earlier.
	maxEscape = 64
)

// An insert is an escape sequence that is not part of the plain projection. It stands before the plain
// byte at.
type insert struct{ at, n int }

// project appends the plain projection of p to the buffer and puts what it skips aside. An escape that
// moves the cursor, and any that is not known to be harmless, leaves its ESC in the projection, where no
// value spans it; the rest of it is put aside as well. The text of titles and other strings is plain.
func (s *Stream) project(p []byte) {
	for len(p) > 0 {
		if len(s.esc) == 0 {
			k := bytes.IndexByte(p, esc)
			if k < 0 {
				s.buf = append(s.buf, p...)
				return
			}
			s.buf = append(s.buf, p[:k]...)
			s.esc = append(s.esc, esc)
			p = p[k+1:]
			continue
		}
		switch s.escape(p[0]) {
		case escMore:
			s.esc = append(s.esc, p[0])
			p = p[1:]
		case escSkip:
			s.esc = append(s.esc, p[0])
			s.putAside(s.esc)
			p = p[1:]
		case escBreak:
			s.esc = append(s.esc, p[0])
			s.breakHere()
			p = p[1:]
		case escAbort:
			s.breakHere()
		}
	}
}

type escStep uint8

const (
	escMore  escStep = iota // c belongs to it, and so will more
	escSkip                 // c ends it; it only changes looks
	escBreak                // c ends it; it may move the cursor
	escAbort                // c does not belong to it
)

// escape says what c does to the escape that s.esc has of it so far (ECMA-48 5.3, 5.4).
func (s *Stream) escape(c byte) escStep {
	if c < 0x20 || c > 0x7e || len(s.esc) >= maxEscape {
		return escAbort
	}
	if len(s.esc) == 1 {
		switch {
		case c == '[' || c >= 0x20 && c < 0x30:
			return escMore
		case c == '=' || c == '>':
			return escSkip
		}
		return escBreak
	}
	if s.esc[1] != '[' { // nF: a character set
		if c < 0x30 {
			return escMore
		}
		return escSkip
	}
	switch {
	case c < 0x40:
		return escMore
	case c == 'm' || c == 'K':
		return escSkip
	case (c == 'h' || c == 'l') && !bytes.Contains(s.esc, []byte("47")) && !bytes.Contains(s.esc, []byte("104")):
		return escSkip // modes, but for those that switch the screen
	}
	return escBreak
}

func (s *Stream) putAside(raw []byte) {
	if len(raw) > 0 {
		s.aside = append(s.aside, raw...)
		s.inserts = append(s.inserts, insert{len(s.buf), len(raw)})
	}
	s.esc = s.esc[:0]
}

func (s *Stream) breakHere() {
	s.buf = append(s.buf, esc)
	s.putAside(s.esc[1:])
	s.esc = s.esc[:0]
}

// putBack appends the escapes that stand before plain byte limit.
func (s *Stream) putBack(dst []byte, limit int) []byte {
	for s.insHead < len(s.inserts) && s.inserts[s.insHead].at < limit {
		n := s.inserts[s.insHead].n
		dst = append(dst, s.aside[s.asideHead:s.asideHead+n]...)
		s.asideHead += n
		s.insHead++
	}
	if s.insHead > 0 && s.insHead == len(s.inserts) {
		s.inserts, s.aside = s.inserts[:0], s.aside[:0]
		s.insHead, s.asideHead = 0, 0
	}
	return dst
}
