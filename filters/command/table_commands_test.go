package command

import (
	"os"
	"strings"
	"testing"
)

// TestCommands holds Parse to testdata/commands.txt.
func TestCommands(t *testing.T) {
	data, err := os.ReadFile("testdata/commands.txt")
	if err != nil {
		t.Fatal(err)
	}
	var rows int
	for i, line := range strings.Split(string(data), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		rows++
		mark, classes, text := commandRow(t, i+1, line)
		f := Parse(text)
		if got := f.Opaque; got != (mark == "!") {
			t.Errorf("line %d: Parse(%q).Opaque = %v, want %v; why: %q", i+1, text, got, mark == "!", f.Why)
			continue
		}
		if mark == "." && f.Classes != classes || !f.Classes.Has(classes) {
			t.Errorf("line %d: Parse(%q).Classes = %v, want %v", i+1, text, f.Classes, classes)
		}
		if f.Opaque == (len(f.Why) == 0) {
			t.Errorf("line %d: Parse(%q): opaque is %v, but why is %q", i+1, text, f.Opaque, f.Why)
		}
	}
	if rows < 400 {
		t.Errorf("only %d rows", rows)
	}
}

func commandRow(t *testing.T, n int, line string) (mark string, classes Class, text string) {
	t.Helper()
	head, text, ok := strings.Cut(line, " | ")
	mark, names, ok2 := strings.Cut(head, " ")
	if !ok || !ok2 || mark != "." && mark != "!" {
		t.Fatalf("line %d is not MARK CLASSES | COMMAND: %q", n, line)
	}
	if names != "none" {
		for _, name := range strings.Split(names, ",") {
			c, ok := ClassOf(name)
			if !ok {
				t.Fatalf("line %d: unknown class %q", n, name)
			}
			classes |= c
		}
	}
	return mark, classes, strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\t`, "\t").Replace(text)
}
