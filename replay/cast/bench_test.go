package cast_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"testing"

	"github.com/sallyport-ssh/sallyport/replay/cast"
)

func BenchmarkWriter(b *testing.B) {
	text, binary := make([]byte, 32<<10), make([]byte, 32<<10)
	for i := range text {
		text[i] = "the quick brown fox \x1b[1mjumps\x1b[0m over\r\n"[i%40]
		binary[i] = byte(i * 2654435761 >> 7)
	}
	log := bytes.Repeat([]byte("2026-11-24T10:00:00Z INFO request id=deadbeef path=/orders/7 status=200 duration=17ms user=4711 done\n"), 400)[:32<<10]
	for _, bb := range []struct {
		name string
		p    []byte
	}{{"1B", text[:1]}, {"32KiB", text}, {"32KiB-log", log}, {"32KiB-binary", binary}} {
		b.Run(bb.name, func(b *testing.B) {
			w := newWriter(b, io.Discard, newAuthority(b), session)
			b.SetBytes(int64(len(bb.p)))
			b.ReportAllocs()
			for b.Loop() {
				must(b, w.Output(cast.Stdout, bb.p))
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	a := newAuthority(b)
	var out bytes.Buffer
	w := newWriter(b, &out, a, session)
	p := bytes.Repeat([]byte("the quick brown fox \x1b[1mjumps\x1b[0m over\r\n"), 100)
	for range 2000 {
		must(b, w.Output(cast.Stdout, p))
	}
	_, err := w.Close(cast.End{})
	must(b, err)
	b.SetBytes(int64(out.Len()))
	for b.Loop() {
		if r := verify(b, a, out.Bytes(), cast.VerifyOptions{}); !r.OK() {
			b.Fatal(r.Why)
		}
	}
}

// BenchmarkFloor is the part of writing that the format demands: the hash of what is written.
func BenchmarkFloor(b *testing.B) {
	p, h := make([]byte, 34<<10), sha256.New()
	b.SetBytes(32 << 10)
	for b.Loop() {
		h.Write(p)
	}
}
