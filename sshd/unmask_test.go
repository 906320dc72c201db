package sshd

import (
	"fmt"
	"strings"
	"testing"
)

func TestUnmaskNames(t *testing.T) {
	e := testMasks(t)
	for _, tt := range []struct{ asked, want, refused string }{
		{asked: "", want: "[]"}, {asked: "0", want: "[]"}, {asked: "1", want: "[*]"}, {asked: "*", want: "[*]"},
		{asked: "email", want: "[email]"}, {asked: " email , card,email", want: "[email card]"}, {asked: "card,1", want: "[*]"},
		{asked: "Email", refused: "names Email"}, {asked: "card,\x1b[31mx", refused: "which is nothing"}, {asked: "yes", refused: "names yes"},
		{asked: strings.Join(e.Names(), ","), refused: "too much"},
	} {
		got, err := unmaskNames(tt.asked, e)
		if tt.refused != "" {
			if err == nil || !strings.Contains(err.Error(), tt.refused) || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("%q: %v, want a refusal that says %q", tt.asked, err, tt.refused)
			}
			continue
		}
		if err != nil || fmt.Sprint(got) != tt.want {
			t.Errorf("%q: %v, %v, want %s", tt.asked, got, err, tt.want)
		}
	}
}
