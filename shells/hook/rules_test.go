package hook

import (
	"strings"
	"testing"
)

func FuzzCheckCommand(f *testing.F) {
	for _, s := range []string{"ls", "trap - DEBUG", "$a b", "set -x", "for x in y", "a 'b", "x=$(y)", "OneLine|"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		checkCommand(s)
		readLine(s)
		if got := OneLine(s, 100); len(got) > 100 || strings.ContainsAny(got, "\n\r\x1b|") {
			t.Errorf("oneLine(%q) = %q", s, got)
		}
	})
}
