package sftp_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport-ssh/sallyport/filters/sftp"
)

func text(v any) string { return fmt.Sprint(v) }

// cut feeds stream to a new Splitter in chunks of the sizes given, again and again.
func cut(stream []byte, sizes ...int) (packets [][]byte, pending int, err error) {
	var s sftp.Splitter
	for i := 0; len(stream) > 0; i++ {
		n := min(max(1, sizes[i%len(sizes)]), len(stream))
		chunk := bytes.Clone(stream[:n])
		stream = stream[n:]
		packet, rest, err := s.Next(chunk)
		for ; packet != nil; packet, rest, err = s.Next(rest) {
			packets = append(packets, bytes.Clone(packet))
		}
		clear(chunk) // nobody may keep it
		if err != nil {
			return packets, s.Pending(), err
		}
	}
	return packets, s.Pending(), nil
}

func TestSplit(t *testing.T) {
	big := wire(6, 7, "h", uint64(0), strings.Repeat("x", 255<<10))
	stream := bytes.Join([][]byte{wire(1, 3), wire(4, 7, "h"), big, wire(13, 8, "/a"), big[:100]}, nil)
	for _, sizes := range [][]int{{len(stream)}, {1}, {3}, {4}, {5}, {1, 2, 3}, {32 << 10}, {len(big) - 1}, {len(big)}, {len(big) + 1}} {
		got, pending, err := cut(stream, sizes...)
		if err != nil || len(got) != 4 || pending != 100 || !bytes.Equal(bytes.Join(got, nil), stream[:len(stream)-100]) {
			t.Errorf("chunks of %v: %d packets, %d pending, %v", sizes, len(got), pending, err)
		}
	}
}

func TestSplitErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		length string
		want   error
	}{
		{"empty", "\x00\x00\x00\x00", sftp.ErrMalformed},
		{"too long", "\x00\x04\x04\x00", sftp.ErrTooLong},
		{"very long", "\xff\xff\xff\xff", sftp.ErrTooLong},
		{"an SSH banner", "SSH-2.0-", sftp.ErrTooLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{1, 3, 100} {
				stream := append(wire(4, 7, "h"), tt.length...)
				got, _, err := cut(stream, size)
				if len(got) != 1 || !errors.Is(err, tt.want) {
					t.Errorf("chunks of %d: %d packets, %v", size, len(got), err)
				}
			}
			var s sftp.Splitter
			_, _, first := s.Next([]byte(tt.length))
			packet, _, err := s.Next(wire(4, 7, "h"))
			if packet != nil || !errors.Is(err, tt.want) || err != first {
				t.Errorf("after the error: %v, %v", packet, err)
			}
		})
	}
}

// However a stream arrives, its packets are the same, and nothing is lost or made up.
func FuzzSplit(f *testing.F) {
	f.Add([]byte(wire(4, 7, "h")), 1, 2)
	f.Add([]byte(append(wire(1, 3), wire(3, 7, "/a", 1, 0)...)), 3, 7)
	f.Add([]byte("\x00\x00\x00\x00rest"), 2, 2)
	for _, stream := range recorded(f) {
		f.Add(stream, 1000, 13)
	}
	f.Fuzz(func(t *testing.T, stream []byte, a, b int) {
		want, wantPending, wantErr := cut(stream, len(stream))
		got, pending, err := cut(stream, a, b)
		if len(got) != len(want) || (err == nil) != (wantErr == nil) || err == nil && pending != wantPending {
			t.Fatalf("%d packets, %d pending, %v; whole: %d, %d, %v", len(got), pending, err, len(want), wantPending, wantErr)
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("packet %d is %x, whole: %x", i, got[i], want[i])
			}
		}
		all := bytes.Join(got, nil)
		if !bytes.HasPrefix(stream, all) || err == nil && len(all)+pending != len(stream) {
			t.Fatalf("%d bytes in packets and %d pending of %d", len(all), pending, len(stream))
		}
	})
}

// No packet makes the parser fail badly, and a request for a path names it in what it needs.
func FuzzParse(f *testing.F) {
	for _, p := range []sftp.Packet{
		wire(1, 3), wire(3, 7, "/a", 0x1a, 4, 0o644), wire(6, 7, "h", uint64(5), "data"), wire(9, 7, "/a", 15, uint64(1), 2, 3, 4, 5, 6),
		wire(18, 7, "/a", "/b"), wire(20, 7, "/a", "/b"), wire(200, 7, "copy-data", "h", uint64(0), uint64(0), "i", uint64(0)),
		wire(2, 3, "limits@openssh.com", "1"), wire(101, 7, 3, "no", ""), wire(104, 7, 1, "/a", "long", 0),
	} {
		f.Add([]byte(p))
	}
	for _, stream := range recorded(f) {
		packets, _, _ := cut(stream, len(stream))
		for _, p := range packets {
			f.Add(p)
		}
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if r, err := sftp.Parse(p); err == nil {
			if len(r.Data)+len(r.Handle)+len(r.Path)+len(r.NewPath)+len(r.Target)+len(r.To) > len(p) {
				t.Fatalf("more than the packet holds: %+v", r)
			}
			if strings.ContainsRune(r.Path+r.NewPath+r.Target, 0) {
				t.Fatalf("NUL in a path: %+v", r)
			}
			if r.Op == sftp.Unknown && len(r.Needs()) == 0 {
				t.Fatal("what is not known needs nothing")
			}
			if changes := r.Path != ""; changes && len(r.Needs()) == 0 {
				t.Fatalf("%s of %q needs nothing", r.Op, r.Path)
			}
			if r.Facts()["operation"] == "" || len(r.Relay(p)) < 5 {
				t.Fatalf("%+v", r)
			}
		}
		if r, err := sftp.ParseReply(p); err == nil && len(r.Relay(p)) > len(p) {
			t.Fatalf("the relayed packet is longer: %x", r.Relay(p))
		}
	})
}
