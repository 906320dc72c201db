package sftp

import (
	"encoding/binary"
	"fmt"
)

// A Splitter cuts one direction of a session into packets, however its bytes arrive. The zero value is
// ready. It keeps at most one unfinished packet, and of that only what has arrived.
type Splitter struct {
	part []byte // of the packet under way
	err  error  // sticky
}

// Next returns the first packet that p completes, and the rest of p. Without one it returns a nil packet and
// keeps p for the next call. Call it until it returns no packet:
//
//	for packet, p, err := s.Next(p); packet != nil || err != nil; packet, p, err = s.Next(p) {
//
// The packet is valid until the next call, and only as long as p is. After an error the stream has lost its
// shape, and every further call returns the same error.
func (s *Splitter) Next(p []byte) (packet Packet, rest []byte, err error) {
	if s.err != nil {
		return nil, nil, s.err
	}
	if len(s.part) == 0 {
		return s.whole(p)
	}
	if n := 4 - len(s.part); n > 0 {
		n = min(n, len(p))
		s.part, p = append(s.part, p[:n]...), p[n:]
		if len(s.part) < 4 {
			return nil, nil, nil
		}
	}
	size, err := s.size(s.part)
	if err != nil {
		return nil, nil, err
	}
	n := min(size-len(s.part), len(p))
	s.part, p = append(s.part, p[:n]...), p[n:]
	if len(s.part) < size {
		return nil, nil, nil
	}
	packet, s.part = s.part, s.part[:0]
	return packet, p, nil
}

// whole takes a packet that p begins with, without copying it.
func (s *Splitter) whole(p []byte) (Packet, []byte, error) {
	if len(p) >= 4 {
		size, err := s.size(p)
		if err != nil {
			return nil, nil, err
		}
		if len(p) >= size {
			return p[:size:size], p[size:], nil
		}
	}
	s.part = append(s.part, p...)
	return nil, nil, nil
}

// size is that of the packet which p begins with, its length field included.
func (s *Splitter) size(p []byte) (int, error) {
	n := binary.BigEndian.Uint32(p)
	switch {
	case n == 0:
		s.err = fmt.Errorf("%w: it is empty", ErrMalformed)
	case n > MaxPacket-4:
		s.err = fmt.Errorf("%w: a packet of %d bytes, at most %d", ErrTooLong, n, MaxPacket-4)
	}
	return int(n) + 4, s.err
}

// Pending returns how many bytes of an unfinished packet are kept. At the end of a stream it tells whether
// the last packet was cut.
func (s *Splitter) Pending() int { return len(s.part) }
