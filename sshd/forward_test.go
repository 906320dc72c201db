package sshd

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// A pieces gives what it holds in pieces of the sizes it is told, again and again.
type pieces struct {
	rest  []byte
	sizes []int
	next  int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[:min(len(p.rest), p.sizes[p.next%len(p.sizes)])])
	p.rest = p.rest[n:]
	p.next++
	return n, nil
}

// However the bytes come, all of them are poured, in order.
func TestPourLosesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	want := make([]byte, 3<<20+17)
	for i := range want {
		want[i] = byte(r.Uint32())
	}
	for _, sizes := range [][]int{{1 << 20}, {chunk}, {chunk, pourMost, pourMost, 1, chunk - 1}, {chunk, 5, pourMost - 1}, {100_000, 7}} {
		for name, from := range map[string]io.Reader{
			"end after the last byte": &pieces{rest: want, sizes: sizes},
			"end with the last bytes": iotest.DataErrReader(&pieces{rest: want, sizes: sizes}),
		} {
			var got bytes.Buffer
			pour(struct{ io.Writer }{&got}, from)
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("pieces of %v, %s: %d bytes came of %d", sizes, name, got.Len(), len(want))
			}
		}
	}
}

// A side that takes nothing more ends it.
func TestPourEndsWithItsWriter(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	for _, size := range []int{10, chunk, 1 << 20} {
		from := &pieces{rest: make([]byte, 4<<20), sizes: []int{size}}
		pour(w, from)
		if len(from.rest) < 3<<20 {
			t.Errorf("pieces of %d: went on reading: %d bytes are left", size, len(from.rest))
		}
	}
}
