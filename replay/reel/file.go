package reel

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// A reel's file is frames, each a length in 4 bytes (big endian) and that much zstd of a JSON object. Frame n
// begins segment n and holds what was found in the segment before it; the last frame of a whole reel ends it.

// A frame is written when a segment begins, or when the recording has been read to its seal.
type frame struct {
	Format int        `json:"v,omitempty"` // of the first one
	From   int64      `json:"from,omitempty"`
	Base   int64      `json:"base,omitempty"` // microseconds, as all times here
	Start  int64      `json:"start,omitempty"`
	Cols   uint32     `json:"cols,omitempty"`
	Rows   uint32     `json:"rows,omitempty"`
	Masked int64      `json:"masked,omitempty"`
	Screen string     `json:"screen,omitempty"`
	Gaps   [][2]int64 `json:"gaps,omitempty"`  // of the segment before
	Marks  []mark     `json:"marks,omitempty"` // of the segment before
	End    *ending    `json:"end,omitempty"`
}

type mark struct {
	At     int64  `json:"at"`
	Label  string `json:"label,omitempty"`
	Masked int64  `json:"masked,omitempty"`
	Typed  bool   `json:"typed,omitempty"`
}

type ending struct {
	Length int64 `json:"length"`
	Read   int64 `json:"read"`
}

// format is the version of the file. Files of another are made anew.
const format = 1

// maxFrame bounds a frame once it is unpacked: the largest screen in the costliest colours.
const maxFrame = 16 << 20

var (
	encoders = sync.Pool{New: func() any {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic(err) // the options are constant
		}
		return e
	}}
	decoders = sync.Pool{New: func() any {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxFrame), zstd.WithDecoderLowmem(true))
		if err != nil {
			panic(err) // as above
		}
		return d
	}}
)

func us(d time.Duration) int64     { return d.Microseconds() }
func fromUS(v int64) time.Duration { return time.Duration(v) * time.Microsecond }

// pack makes the bytes of a frame.
func pack(f frame) ([]byte, error) {
	b, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	e := encoders.Get().(*zstd.Encoder)
	defer encoders.Put(e)
	out := e.EncodeAll(b, make([]byte, 4, 4+len(b)/4))
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out, nil
}

func unpack(b []byte) (f frame, err error) {
	d := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(d)
	raw, err := d.DecodeAll(b, nil)
	if err != nil {
		return f, err
	}
	return f, json.Unmarshal(raw, &f)
}

// frameOf is the frame that begins s, behind a segment with these gaps and markers.
func frameOf(s Segment, gaps []Gap, marks []Marker) frame {
	f := frame{From: s.From, Base: us(s.Base), Start: us(s.Start), Cols: s.Cols, Rows: s.Rows, Masked: s.Masked, Screen: s.screen}
	for _, g := range gaps {
		f.Gaps = append(f.Gaps, [2]int64{us(g.At), us(g.For)})
	}
	for _, m := range marks {
		f.Marks = append(f.Marks, mark{us(m.At), m.Label, m.Masked, m.Typed})
	}
	return f
}

// found adds what a frame tells of the segment before it.
func (v *View) found(f frame) {
	for _, g := range f.Gaps {
		v.Gaps = append(v.Gaps, Gap{fromUS(g[0]), fromUS(g[1])})
	}
	for _, m := range f.Marks {
		v.Markers = append(v.Markers, Marker{fromUS(m.At), m.Label, m.Masked, m.Typed})
	}
}

var errFile = errors.New("no reel of this version")

// readFile reads a reel as far as its file goes, and where each segment's frame stands in it.
func readFile(r io.Reader) (v View, frames []place, err error) {
	b := bufio.NewReaderSize(r, 64<<10)
	at := int64(0)
	for {
		f, size, err := readFrame(b)
		if err == io.EOF || err == io.ErrUnexpectedEOF { // the process died while it wrote
			break
		}
		if err != nil {
			return View{}, nil, err
		}
		if len(frames) == 0 && f.Format != format {
			return View{}, nil, errFile
		}
		v.found(f)
		if f.End != nil {
			v.Length, v.Read, v.How = fromUS(f.End.Length), f.End.Read, Whole
			break
		}
		frames = append(frames, place{at, size})
		v.Segments = append(v.Segments, Segment{From: f.From, Base: fromUS(f.Base), Start: fromUS(f.Start), Cols: f.Cols, Rows: f.Rows, Masked: f.Masked})
		v.Length, v.Read = fromUS(f.Start), f.From
		at += int64(size) + 4
	}
	if len(frames) == 0 {
		return View{}, nil, errFile
	}
	v.Gaps = longest(v.Gaps, 2*maxGaps)
	return v, frames, nil
}

// A place is where a frame's bytes stand in the file, behind its length.
type place struct {
	at   int64
	size int
}

func readFrame(r io.Reader) (frame, int, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, 0, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return frame{}, 0, errFile
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return frame{}, 0, err
	}
	f, err := unpack(b)
	return f, int(n), err
}

// screenAt reads what draws the screen at the start of a segment.
func screenAt(path string, p place) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	b := make([]byte, p.size)
	if _, err := file.ReadAt(b, p.at+4); err != nil {
		return "", fmt.Errorf("reel: %w", err)
	}
	f, err := unpack(b)
	return f.Screen, err
}
