package sftp_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sallyport-ssh/sallyport/filters/sftp"
)

// The cost of relaying contents: 32 KiB a request as clients send them, in chunks as SSH channels bring them.
func BenchmarkUpload(b *testing.B) {
	for _, bench := range []struct {
		name  string
		parse bool
		track bool
	}{{"split", false, false}, {"split+parse", true, false}, {"split+parse+hash", true, true}} {
		b.Run(bench.name, func(b *testing.B) {
			data := strings.Repeat("x", 32<<10)
			tracker := sftp.NewTracker(sftp.Limits{})
			relayed(b, tracker, wire(1, 3), wire(2, 3))
			relayed(b, tracker, wire(3, 1, "/f", sftp.FlagWrite, 0), wire(102, 1, "\x00\x00\x00\x00"))
			var s sftp.Splitter
			var offset uint64
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			packet := wire(6, 2, "\x00\x00\x00\x00", uint64(0), data)
			done, err := sftp.ParseReply(wire(101, 2, 0, "", ""))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				for part := range [2]int{} {
					chunk := packet[:32<<10-9]
					if part == 1 {
						chunk = packet[32<<10-9:]
					}
					p, _, err := s.Next(chunk)
					if err != nil {
						b.Fatal(err)
					}
					if p == nil || !bench.parse {
						continue
					}
					r, err := sftp.Parse(p)
					if err != nil {
						b.Fatal(err)
					}
					if !bench.track {
						continue
					}
					r.Offset = offset
					offset += r.Length
					if err := tracker.Resolve(&r); err != nil {
						b.Fatal(err)
					}
					if err := tracker.Sent(&r); err != nil {
						b.Fatal(err)
					}
					if _, err := tracker.Received(&done); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// What one copy of the same bytes costs, to compare with.
func BenchmarkCopy(b *testing.B) {
	data, to := bytes.Repeat([]byte("x"), 32<<10), make([]byte, 32<<10)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		copy(to, data)
	}
}

func relayed(b *testing.B, t *sftp.Tracker, request, reply sftp.Packet) {
	b.Helper()
	r, err := sftp.Parse(request)
	if err == nil {
		err = t.Sent(&r)
	}
	if err != nil {
		b.Fatal(err)
	}
	rep, err := sftp.ParseReply(reply)
	if err == nil {
		_, err = t.Received(&rep)
	}
	if err != nil {
		b.Fatal(err)
	}
}
