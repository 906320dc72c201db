package term

import (
	"strings"
	"testing"
)

func show(s *Screen) string {
	var rows []string
	_, n := s.Size()
	for y := range n {
		rows = append(rows, s.Text(y))
	}
	return strings.TrimRight(strings.Join(rows, "|"), "|")
}

func TestDrawing(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"text", "ab\r\ncd", "ab|cd"}, {"wrap", "0123456789AB", "0123456789|AB"}, {"pending wrap", "0123456789\r\nx", "0123456789|x"},
		{"pending wrap and a return", "0123456789\rX", "X123456789"}, {"address", "\x1b[2;3Hx\x1b[HY", "Y|  x"},
		{"overwrite", "abc\r12", "12c"}, {"backspace", "abc\b\bX", "aXc"}, {"erase line", "abcdef\x1b[3D\x1b[K", "abc"}, {"erase before", "abc\x1b[1K", ""},
		{"erase screen", "ab\r\ncd\x1b[2Jx", "|  x"}, {"erase below", "ab\r\ncd\x1b[H\x1b[J", ""}, {"delete", "abcdef\r\x1b[2P", "cdef"}, {"insert", "abc\r\x1b[2@X", "X abc"},
		{"insert mode", "abc\r\x1b[4hXY\x1b[4l", "XYabc"}, {"erase characters", "abcdef\r\x1b[2Xz", "z cdef"}, {"wide", "日本x", "日本x"},
		{"wide at the margin", "012345678日", "012345678|日"}, {"half a wide one", "日本\r\x1b[Cx", " x本"}, {"scroll", "1\r\n2\r\n3\r\n4\r\n5", "2|3|4|5"},
		{"region", "1\r\n2\r\n3\r\n4\x1b[2;3r\x1b[3;1H\n", "1|3||4"}, {"insert line", "1\r\n2\x1b[H\x1b[L", "|1|2"}, {"delete line", "1\r\n2\x1b[H\x1b[M", "2"},
		{"reverse index", "1\x1b[H\x1bM", "|1"}, {"alternate", "main\x1b[?1049halt\x1b[?1049l", "main"}, {"save", "ab\x1b7cd\x1b8X", "abXd"},
		{"title", "\x1b]0;title\ax", "x"}, {"string with ST", "\x1bPabc\x1b\\x", "x"}, {"repeat", "a\x1b[3b", "aaaa"}, {"drawing set", "\x1b(0qq\x1b(Bq", "──q"},
		{"split rune", "\xe6", ""}, {"invalid", "a\xffb\xe6z", "a\uFFFDb\uFFFDz"}, {"tab", "a\tb", "a       b"}, {"columns", "a\x1b[5Gb", "a   b"},
		{"no wrap", "\x1b[?7l0123456789AB", "012345678B"}, {"origin", "\x1b[2;3r\x1b[?6hx", "|x"}, {"reset", "abc\x1bcx", "x"},
		{"hostile", "\x1b[99999999999999;1Hx\x1b[1;1r\x1b[;H" + strings.Repeat("\x1b[", 99) + strings.Repeat("1;", 99) + "Hy", "y|||x"},
	} {
		whole, single := New(10, 4), New(10, 4)
		whole.Write([]byte(tt.in))
		for i := range len(tt.in) {
			single.Write([]byte(tt.in[i : i+1]))
		}
		if got := show(whole); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		if show(whole) != show(single) {
			t.Errorf("%s: byte by byte %q", tt.name, show(single))
		}
	}
}

func TestResizeKeepsTheTextAndTheCursor(t *testing.T) {
	s := New(10, 4)
	s.Write([]byte("1\r\n2\r\n3\r\nhello"))
	s.Resize(4, 2)
	if got := show(s); got != "3|hell" {
		t.Errorf("smaller: %q", got)
	}
	s.Resize(20, 6)
	s.Write([]byte("X"))
	if got := show(s); got != "3|helX" {
		t.Errorf("larger: %q", got)
	}
}

func TestRowsThatOnlyMoveAreNotDirty(t *testing.T) {
	s := New(10, 4)
	s.Write([]byte("1\r\n2\r\n3\r\n4"))
	s.Clean()
	s.Write([]byte("\r\n5"))
	for y, want := range []bool{false, false, false, true} {
		if s.Dirty(y) != want {
			t.Errorf("row %d dirty: %v", y, s.Dirty(y))
		}
	}
}

func TestRepaintDrawsTheSameScreen(t *testing.T) {
	for _, in := range []string{
		"\x1b[H\x1b[1;31mred\x1b[0m plain\x1b[2;3H\x1b[38;5;200;48;2;1;2;3mx", "\x1b[H0123456789", "\x1b[H日本\x1b[4h", "\x1b[2;3r\x1b[?6hab",
		"\x1b[H\x1b[4:3;58;5;9mwave\x1b[4:0;53mx\x1b[21my\x1b[38:2::1:2:3mz\x1b[38;2;0;10;20;1mu", "\x1b[H\x1b(0lqk\x1b(B", "0123456789", "ab\r\ncd\r\n0123456789",
	} {
		a, b := New(10, 4), New(10, 4)
		a.Write([]byte(in))
		b.Write([]byte(in))
		p := a.AppendStart(nil)
		for y := range 4 {
			p = a.AppendRepaint(p, y, 0, 10)
		}
		p = a.AppendRestore(p)
		b.Write(p)
		for y := range 4 {
			for x := range 10 {
				if a.Cells(y)[x] != b.Cells(y)[x] {
					t.Errorf("%q: cell %d,%d is %v, was %v", in, x, y, b.Cells(y)[x], a.Cells(y)[x])
				}
			}
		}
		if a.cur != b.cur || a.insert != b.insert {
			t.Errorf("%q: the cursor is %+v, was %+v", in, b.cur, a.cur)
		}
	}
}

// TestRepaintWhereverTheSessionBegan: a session begins on whatever row the person's cursor is, after text that is
// not its own, and a repaint finds its rows all the same.
func TestRepaintWhereverTheSessionBegan(t *testing.T) {
	const before = "1 old\r\n2 old\r\n3 old\r\n4 old\r\n$ ssh\r\n"
	for _, tt := range []struct{ name, in, want string }{
		{"the line of the cursor", "xx 1111\r41", "41*1111"},
		{"a line above", "xx 1111\r\nmore\r\nlines", "xx*1111"},
		{"after the screen has scrolled", "1\r\n2\r\n3\r\nxx 1111\r\n4\r\n5", "xx*1111"},
		{"by an address", "xx\x1b[2;1Hxx 1111\x1b[5;2H", "xx*1111"},
		{"cleared", "xx\r\n\x1b[H\x1b[2J\r\nxx 1111\r\n", "xx*1111"},
		{"moved and back", "a\r\nxx 1111\r\nb\x1b[2A\x1b[1B\r\nc", "xx*1111"},
	} {
		for begin := range 8 { // rows that the person's screen was filled with
			model, person := New(12, 6), New(12, 6)
			person.Write([]byte(before[:min(len(before), begin*7)] + "\r\n"))
			model.Write([]byte(tt.in))
			person.Write([]byte(tt.in))
			x, y, _ := person.Cursor()
			for row := range 6 {
				if k := strings.Index(model.Text(row), "1111"); k == 3 && model.Reachable(row) {
					model.Set(2, row, '*')
					person.Write(model.AppendRestore(model.AppendRepaint(model.AppendStart(nil), row, 2, 3)))
				}
			}
			if got := show(person); strings.Count(got, "*") != 1 || !strings.Contains(got, tt.want) {
				t.Errorf("%s, row %d: %q", tt.name, begin, got)
			}
			if x1, y1, _ := person.Cursor(); x1 != x || y1 != y {
				t.Errorf("%s, row %d: the cursor went from %d,%d to %d,%d", tt.name, begin, x, y, x1, y1)
			}
		}
	}
}

// TestUnreachableRows: where a row is on the real screen cannot always be known.
func TestUnreachableRows(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		resize   bool
		want     bool
	}{
		{"written before the cursor was placed", "secret\r\n\x1b[3;1H", false, false},
		{"up beyond what was written", "secret\x1b[5A\x1b[1B", false, false},
		{"back to a saved place that has scrolled", "secret\x1b7\r\n\r\n\x1b8", false, false},
		{"the window has another size", "\x1b[1;1Hsecret", true, false},
		{"placed", "\x1b[1;1Hsecret\x1b7\r\n\x1b8", false, true},
	} {
		s := New(12, 6)
		s.Write([]byte(tt.in))
		if tt.resize {
			s.Resize(20, 8)
		}
		if got := s.Reachable(0); got != tt.want {
			t.Errorf("%s: reachable %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestGround(t *testing.T) {
	for _, in := range []string{"", "text", "\x1b[1m", "\x1b]0;title\a", "é", "\x1bP1\x1b\\"} {
		s := New(10, 4)
		for i := range len(in) {
			s.Write([]byte(in[i : i+1]))
			if s.Ground() && i+1 < len(in) && in != "text" {
				t.Errorf("ground inside %q", in[:i+1])
			}
		}
		if !s.Ground() {
			t.Errorf("not ground after %q", in)
		}
	}
}

func TestCloneAndSame(t *testing.T) {
	s := New(10, 4)
	s.Write([]byte("ab\x1b[?1049hcd\x1b[1m"))
	c := s.Clone()
	if !s.Same(c) {
		t.Error("a clone is not the same")
	}
	c.Write([]byte("x"))
	if s.Same(c) || show(s) == show(c) {
		t.Error("a clone shares its cells")
	}
	s.Write([]byte("x\x1b["))
	if s.Same(c) {
		t.Error("two in different states are the same")
	}
}

// FuzzRuns: runs of text are drawn as single characters are.
func FuzzRuns(f *testing.F) {
	f.Add([]byte("abcdefghijkl\x1b[?7lmnopqrstuvwxyz日x\x1b[4hin\x1b(0qq"))
	f.Fuzz(func(t *testing.T, p []byte) {
		a, b := New(7, 3), New(7, 3)
		a.Write(p)
		for i := range p {
			b.Write(p[i : i+1])
		}
		if show(a) != show(b) || a.cur != b.cur {
			t.Fatalf("%q: %q and %q", p, show(a), show(b))
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	for _, tt := range []struct{ name, line string }{
		{"log", "2026-11-24T10:00:00Z level=info msg=\"request served\" took=12ms\r\n"}, {"colours", "\x1b[32mok\x1b[m \x1b[1;34mdirectory\x1b[0m  file\r\n"}, {"lone bytes", "x"},
	} {
		b.Run(tt.name, func(b *testing.B) {
			s, p := New(80, 24), []byte(tt.line)
			b.SetBytes(int64(len(p)))
			for range b.N {
				s.Write(p)
			}
		})
	}
}

// FuzzWrite: no input makes the model panic or lose its size.
func FuzzWrite(f *testing.F) {
	f.Add([]byte("\x1b[2;3r\x1b[?6h\x1b[99L\x1b[99S\x1b[99T日\b\x1b[@\x1b[P"), uint8(3), uint8(2))
	f.Add([]byte("\x1b[?1049h\x1bc日本\x1b[1;1r\x1b[200b"), uint8(1), uint8(1))
	f.Fuzz(func(t *testing.T, p []byte, cols, rows uint8) {
		s := New(int(cols), int(rows))
		s.Write(p)
		s.Resize(int(rows), int(cols))
		s.Write(p)
		out := s.AppendRestore(s.AppendStart(nil))
		s.Write(out)
		if c, r := s.Size(); len(s.lines) != r || len(s.lines[0].cells) != c {
			t.Fatalf("size %d,%d", c, r)
		}
		if x, y, _ := s.Cursor(); x < 0 || y < 0 || x >= s.cols || y >= s.rows {
			t.Fatalf("cursor %d,%d", x, y)
		}
	})
}
