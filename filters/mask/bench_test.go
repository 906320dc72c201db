package mask

import (
	"testing"

	"github.com/sallyport-ssh/sallyport/filters/mask/internal/corpus"
)

func benchStream(b *testing.B, in []byte, chunk int) {
	e, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	s := e.Stream(StreamOptions{})
	dst := make([]byte, 0, 2*chunk)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		for i := 0; i < len(in); i += chunk {
			dst = s.Append(dst[:0], in[i:min(i+chunk, len(in))])
		}
	}
}

func BenchmarkClean(b *testing.B) {
	for _, c := range corpus.Clean() {
		b.Run(c.Name, func(b *testing.B) { benchStream(b, c.Text, 32<<10) })
	}
}

func BenchmarkHits(b *testing.B) {
	for _, c := range corpus.Hits() {
		b.Run(c.Name, func(b *testing.B) { benchStream(b, c.Text, 32<<10) })
	}
}

func BenchmarkLoneByte(b *testing.B) {
	e, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	for _, tt := range []struct{ name, text string }{
		{"word", "x"}, {"prose", "the quick brown fox jumps over the lazy dog\r\n"},
		{"digits", "4111 1111 1111 1112 "},
	} {
		b.Run(tt.name, func(b *testing.B) {
			s := e.Stream(StreamOptions{})
			var dst []byte
			b.ReportAllocs()
			for i := range b.N {
				k := i % len(tt.text)
				dst = s.Append(dst[:0], []byte(tt.text)[k:k+1])
			}
		})
	}
}
