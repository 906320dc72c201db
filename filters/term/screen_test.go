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
		"\x1b[1;31mred\x1b[0m plain\x1b[2;3H\x1b[38;5;200;48;2;1;2;3mx", "0123456789", "日本\x1b[4h", "\x1b[2;3r\x1b[?6hab",
	} {
		a, b := New(10, 4), New(10, 4)
		a.Write([]byte(in))
		b.Write([]byte(in))
		p := a.AppendStart(nil)
		for y := range 4 {
			p = a.AppendRepaint(p, y, 0, 10)
		}
		p = a.AppendRestore(p)
		if a.cur.origin { // rows outside the region cannot be addressed
			continue
		}
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
