package postgres

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"
)

// FuzzFrames cuts a stream into the same messages however it arrives.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("Q\x00\x00\x00\x05xS\x00\x00\x00\x04"), 3)
	f.Add([]byte("Q\x00\x00\x00\x03"), 1)
	f.Add([]byte("d\xff\xff\xff\xff"), 1)
	f.Fuzz(func(t *testing.T, stream []byte, cut int) {
		whole, errWhole := cutAll(bytes.NewReader(stream))
		pieces, errPieces := cutAll(iotest.OneByteReader(bytes.NewReader(stream)))
		if len(whole) != len(pieces) || (errWhole == io.EOF) != (errPieces == io.EOF) {
			t.Fatalf("%d messages, %v; byte by byte %d, %v", len(whole), errWhole, len(pieces), errPieces)
		}
		var all []byte
		for i := range whole {
			if !bytes.Equal(whole[i], pieces[i]) {
				t.Fatalf("message %d: %q and %q", i, whole[i], pieces[i])
			}
			all = append(all, whole[i]...)
		}
		if !bytes.HasPrefix(stream, all) {
			t.Fatal("messages are not what was sent")
		}
	})
}

func cutAll(r io.Reader) (all [][]byte, err error) {
	f := newFrames(r, 1<<16)
	for {
		m, err := f.next()
		if err != nil {
			return all, err
		}
		all = append(all, bytes.Clone(m))
	}
}

// TestFramesOfAllSizes goes from small messages to large ones and back, as buffers grow and are given back.
func TestFramesOfAllSizes(t *testing.T) {
	var stream []byte
	var sizes []int
	for i := range 300 {
		n := (i * i * 37) % 200_000
		if i%7 == 0 {
			n = i
		}
		sizes = append(sizes, n)
		stream = message(stream, byte('a'+i%26), func(b []byte) []byte { return append(b, bytes.Repeat([]byte{byte(i)}, n)...) })
	}
	for _, r := range []io.Reader{bytes.NewReader(stream), iotest.HalfReader(bytes.NewReader(stream))} {
		f := newFrames(r, 1<<20)
		for i, n := range sizes {
			m, err := f.next()
			if err != nil || m[0] != byte('a'+i%26) || !bytes.Equal(m[header:], bytes.Repeat([]byte{byte(i)}, n)) {
				t.Fatalf("message %d of %d bytes: %v", i, n, err)
			}
		}
		if _, err := f.next(); err != io.EOF {
			t.Error(err)
		}
	}
}
