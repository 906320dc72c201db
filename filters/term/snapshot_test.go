package term

import (
	"reflect"
	"testing"
)

// same compares what the next output could tell apart.
func same(t *testing.T, what string, got, want *Screen) {
	t.Helper()
	for _, s := range []*Screen{got, want} {
		s.Clean()
		for _, rows := range [][]row{s.main, s.alt} {
			for y := range rows {
				rows[y].dirty, rows[y].wrapped, rows[y].frame = false, false, 0
			}
		}
		s.params, s.last, s.part = nil, 0, [4]byte{}
		s.frames, s.paintY, s.cur.frame, s.saved.frame = 0, 0, 0, 0 // a player's screen is all its own
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got\n%+v\nwant\n%+v", what, got, want)
	}
}

var snapshots = []string{
	"", "hello\r\nworld", "\x1b[31;1mred\x1b[44m on blue\x1b[K\r\nnext", "\x1b[38;2;1;2;3mrgb\x1b[38;5;200mindexed\x1b[7;4mall",
	"漢字 wide\r\n漢字漢字漢字漢字漢字漢", "0123456789", "012345678\x1b[7m9", "main\x1b[?1049halt\x1b[3;4Hthere", "\x1b[?25l\x1b[?7lhidden",
	"\x1b[2;4r\x1b[?6h\x1b[2;2Horigin", "\x1b[20hno\nstairs", "\x1b(0lqk\x1b(B plain", "\x1b)0\x0elqk", "\x1b7\x1b[3;3Hsaved elsewhere",
	"\x1b[4hinsert", "a\r\nb\r\nc\r\nd\r\ne\r\nf\r\ng", "\x1b[44m\x1b[2J\x1b[41mx", "\x1b[31m\x1b[5;5H\x1b7\x1b[m\x1b[Hmoved", "\x1b[?5hreverse",
	"\x1b[4:3;58;5;9mwave\x1b[4;53mline",
}

func TestSnapshot(t *testing.T) {
	for _, in := range snapshots {
		want := New(10, 5)
		want.Write([]byte(in))
		got := New(10, 5)
		got.Write([]byte("what was there before \x1b[?1049h\x1b[31m"))
		got.Write(want.AppendSnapshot(nil))
		same(t, in, got, want)
	}
}

// A snapshot taken anywhere changes nothing of what comes after it.
func FuzzSnapshot(f *testing.F) {
	for i, in := range snapshots {
		f.Add(in+snapshots[(i+1)%len(snapshots)], i)
	}
	f.Fuzz(func(t *testing.T, in string, at int) {
		at = max(0, min(at, len(in)))
		want := New(10, 5)
		want.Write([]byte(in[:at]))
		if want.state != ground || want.npart > 0 {
			return // snapshots are taken between sequences
		}
		got := New(10, 5)
		got.Write(want.AppendSnapshot(nil))
		same(t, in[:at], got, want)
		got.Write([]byte(in[at:]))
		want.Write([]byte(in[at:]))
		for y := range 5 {
			if got.Text(y) != want.Text(y) {
				t.Fatalf("%q after %q: row %d is %q, want %q", in[at:], in[:at], y, got.Text(y), want.Text(y))
			}
		}
	})
}

func TestLeaving(t *testing.T) {
	s := New(10, 3)
	var gone []string
	s.OnLeaving(func(y int) { gone = append(gone, s.Text(y)) })
	s.Write([]byte("one\r\ntwo\r\nthree\r\nfour\r\n\x1b[2Sx\x1b[?1049h\r\n\r\n\r\n\r\n\x1b[?1049l"))
	if want := []string{"one", "two", "three", "four"}; !reflect.DeepEqual(gone, want) {
		t.Errorf("got %q, want %q", gone, want)
	}
}
