package mask

import (
	"strings"
	"testing"

	"github.com/sallyport-ssh/sallyport/filters/term"
)

// terminal shows what a person sees, and what a session would do: mask, show, look again.
func terminal(e *Engine, cols, rows int, bursts ...string) (text string, repaired int, after *term.Screen) {
	s, v, person := e.Stream(StreamOptions{}), e.Screen(cols, rows, StreamOptions{}), term.New(cols, rows)
	for _, b := range bursts {
		out := s.Append(nil, []byte(b))
		out = s.Expire(out)
		person.Write(out)
		v.Write([]byte(b), out)
		out, n := v.Look(nil, true)
		person.Write(out)
		repaired += n
	}
	var lines []string
	for y := range rows {
		lines = append(lines, person.Text(y))
	}
	return strings.TrimRight(strings.Join(lines, "|"), "|"), repaired, person
}

func TestScreen(t *testing.T) {
	e := engine(t, Config{})
	for _, tt := range []struct {
		name   string
		bursts []string
		want   string
		n      int
	}{
		{"nothing", []string{"hello\r\nworld"}, "hello|world", 0},
		{"the stream was enough", []string{"4111111111111111\r\n"}, "411111**********", 0},
		{"cursor addressing", []string{"\x1b[1;9H11111111\x1b[1;1H41111111"}, "411111**********", 1},
		{"a piece at a time", []string{"\x1b[2;1Hjane", "\x1b[2;5H@example", "\x1b[2;13H.com x"}, "|j***@*******.*** x", 1},
		{"overwrite", []string{"xxxx 1111 1111 1111\r", "4111\r\n"}, "4111 11** **** ****", 1},
		{"backspace", []string{"411111111111x\b1111\r\n"}, "411111**********", 1},
		{"a blank at the margin", []string{"\x1b[1;1H" + strings.Repeat("x", 30) + " 4111 1111\x1b[2;1H 1111 1111"},
			strings.Repeat("x", 30) + " 4111 11**| **** ****", 1},
		{"two rows that do not go on", []string{"\x1b[1;1H" + strings.Repeat("x", 28) + " 4111 1111\x1b[2;1H1111 1111"},
			strings.Repeat("x", 28) + " 4111 1111|1111 1111", 0},
		{"a row that goes on in the next", []string{"\x1b[1;1H" + strings.Repeat("x", 31) + " 41111111\x1b[2;1H11111111 y"},
			strings.Repeat("x", 31) + " 411111**|******** y", 1},
		{"wrapped in a pane", []string{"\x1b[1;1Hleft\x1b[1;11H│" + strings.Repeat("x", 24) + " 4111\x1b[2;1Hmore\x1b[2;11H│111111111111 | y\x1b[3;11H│z"},
			"left      │" + strings.Repeat("x", 24) + " 4111|more      │11********** | y|          │z", 1},
		{"two panes side by side", []string{"\x1b[1;1H" + strings.Repeat("a", 19) + "|41111111\x1b[2;1H" + strings.Repeat("b", 19) + "|11111111"},
			strings.Repeat("a", 19) + "|41111111|" + strings.Repeat("b", 19) + "|11111111", 0},
		{"colours and cursor stay", []string{"\x1b[1;31m\x1b[1;9H11111111\x1b[1;1H41111111\x1b[3;5H"}, "411111**********", 1},
		{"wide", []string{"日\x1b[1;12H11111111 本\x1b[1;4H41111111"}, "日 411111********** 本", 1},
		{"repainted once", []string{"\x1b[1;9H11111111\x1b[1;1H41111111", "\x1b[5;1Hx", "\x1b[1;20Hy"}, "411111**********   y||||x", 1},
	} {
		got, n, _ := terminal(e, 40, 6, tt.bursts...)
		if got != tt.want || n != tt.n {
			t.Errorf("%s:\n got %q, %d repaired\nwant %q, %d", tt.name, got, n, tt.want, tt.n)
		}
	}
}

func TestScreenLeavesTheCursorAndColours(t *testing.T) {
	e := engine(t, Config{})
	in := "\x1b[1;31m\x1b[1;9H11111111\x1b[1;1H41111111\x1b[3;5H\x1b[32m"
	_, _, person := terminal(e, 40, 6, in)
	if x, y, _ := person.Cursor(); x != 4 || y != 2 {
		t.Errorf("the cursor is at %d,%d", x, y)
	}
	red := person.Cells(0)[0].Pen
	for x := range 16 {
		if person.Cells(0)[x].Pen != red || red.FG == 0 {
			t.Errorf("column %d has pen %v", x, person.Cells(0)[x].Pen)
		}
	}
}

func TestScreenUnmasked(t *testing.T) {
	e := engine(t, Config{})
	v := e.Screen(40, 6, StreamOptions{Unmask: []string{"card"}})
	in := []byte("\x1b[1;9H11111111\x1b[1;1H41111111")
	v.Write(in, in)
	if out, n := v.Look(nil, true); len(out) != 0 || n != 0 {
		t.Errorf("got %q, %d", out, n)
	}
}

// FuzzScreen: after a look no card that was drawn in pieces is left, and the next look has nothing to do.
func FuzzScreen(f *testing.F) {
	f.Add([]byte("\x1b[1;9H11111111\x1b[1;1H41111111"), uint8(40), uint8(6))
	f.Add([]byte("jane@exam\x1b[2Dmple.com\r\n日本\x1b[H"), uint8(20), uint8(3))
	e := engine(f, Config{})
	f.Fuzz(func(t *testing.T, p []byte, cols, rows uint8) {
		v := e.Screen(int(cols), int(rows), StreamOptions{})
		v.Write(p, p)
		out, n := v.Look(nil, true)
		if n == 0 && len(out) > 0 {
			t.Fatalf("%q for nothing", out)
		}
		if again, m := v.Look(nil, true); m != 0 || len(again) != 0 {
			t.Fatalf("a second look repaints %q", again)
		}
	})
}
