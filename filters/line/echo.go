package line

import "strings"

// Echoed says what the screen shows of the line under way, as it stands before the key that runs it: all is true where
// it shows all of the text that was typed, and line is that line as the screen has it, as far as that can be told. What
// was typed and is in neither, nobody has seen: a password, or a full-screen program's keys.
func (r *Reader) Echoed() (line string, all bool) {
	if r.foreign() || r.long {
		return "", false
	}
	if !r.known { // completed, recalled, or edited by keys that are not followed
		v := View{Shown: r.row()}
		if r.lookShown(&v); v.Seen == Screen {
			return v.Text, false
		}
		return "", false
	}
	typed := string(r.text)
	if strings.TrimSpace(typed) == "" {
		return typed, true
	}
	if r.row() == strings.TrimRight(r.base, " ") { // a prompt may end in what is typed behind it
		return "", false
	}
	if _, found := r.find(typed); !found {
		return "", false
	}
	shown := r.all()
	for l := range strings.SplitSeq(typed, "\n") {
		if !strings.Contains(shown, strings.TrimSpace(l)) {
			return "", false
		}
	}
	return typed, true
}

// all is the text of the whole screen, row behind row as if each were wrapped.
func (r *Reader) all() string {
	_, rows := r.screen.Size()
	return text(r.cells(0, rows-1))
}
