package line

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"mvdan.cc/sh/v3/syntax"
)

// A cell is one character of the screen and where it stands.
type cell struct {
	r    rune
	x, y int
}

// cells are the characters of the rows from y0 to y1, without the blanks at the end.
func (r *Reader) cells(y0, y1 int) []cell {
	var out []cell
	n := 0
	for y := y0; y <= y1; y++ {
		for x, c := range r.screen.Cells(y) {
			if c.Rune == 0 {
				continue
			}
			if out = append(out, cell{c.Rune, x, y}); c.Rune != ' ' {
				n = len(out)
			}
		}
	}
	return out[:n]
}

func text(cells []cell) string {
	var b strings.Builder
	for _, c := range cells {
		b.WriteRune(c.r)
	}
	return b.String()
}

// rows are those of the line at the cursor, with what is wrapped.
func (r *Reader) rows() (y0, y1 int) {
	_, rows := r.screen.Size()
	_, y0, _ = r.screen.Cursor()
	for y1 = y0; y1 < rows-1 && r.screen.Wrapped(y1); y1++ {
	}
	for ; y0 > 0 && r.screen.Wrapped(y0-1); y0-- {
	}
	return y0, y1
}

// row is the line at the cursor as the screen has it.
func (r *Reader) row() string { return text(r.cells(r.rows())) }

// around is the line at the cursor, cut where it stands.
func (r *Reader) around() (before, behind string) {
	y0, y1 := r.rows()
	x, y, _ := r.screen.Cursor()
	var b strings.Builder
	all := r.cells(y0, y1)
	for i, c := range all {
		if c.y > y || c.y == y && c.x >= x {
			return b.String(), strings.TrimSpace(text(all[i:]))
		}
		b.WriteRune(c.r)
	}
	// Blanks before the cursor belong to the prompt.
	if n := len(all); y0 == y {
		for at := 0; at < x; at++ {
			if n == 0 || at > all[n-1].x {
				b.WriteByte(' ')
			}
		}
	}
	return b.String(), ""
}

// Look compares the views. A line that is Both will not change by waiting; another may, while echoes are on their way.
func (r *Reader) Look(s Stop) View {
	v := r.look()
	if r.foreign() {
		return v
	}
	if s.Kind == Paste {
		v.Text, v.Unfinished = v.Text+r.pastedText(), false
		if r.known {
			v.Seen, v.Why = Both, "" // editors show a paste when it has ended; Enter is looked at again
		}
	}
	switch {
	case r.long:
		v.Seen, v.Why = Differ, "the line is too long to be followed"
	case s.Kind == Edit:
		v.Seen, v.Why = Differ, "this key opens an editor, and what that leaves is run"
	case r.strange:
		v.Seen, v.Why = Differ, "a full-screen program was opened from the line, and what it leaves may be run"
	}
	v.Unfinished = s.Kind == Accept && v.Unfinished
	return v
}

func (r *Reader) look() View {
	v := View{Shown: r.row(), Typed: r.typed}
	if r.foreign() {
		v.Seen = Nothing
		return v
	}
	if r.known {
		r.lookTyped(&v)
	} else {
		r.lookShown(&v)
	}
	if v.Seen == Both && r.carry == "" && isAnswer(v.Text) && !r.isPrompt(v.Prompt) {
		v.Seen = Nothing
	}
	if v.Text = r.carry + v.Text; v.Seen == Nothing && strings.TrimSpace(v.Text) != "" && r.carry != "" {
		v.Seen = Both
	}
	v.Unfinished = (v.Seen == Both || v.Seen == Screen) && r.plain && unfinished(v.Text)
	return v
}

// lookTyped finds on the screen what was typed.
func (r *Reader) lookTyped(v *View) {
	v.Text = string(r.text)
	if strings.TrimSpace(v.Text) == "" {
		r.lookEmpty(v)
		return
	}
	if prompt, found := r.find(v.Text); found {
		v.Prompt, v.Seen = prompt, Both
		if !r.isPrompt(prompt) && !r.promptLike(prompt) {
			v.Seen, v.Why = Differ, "what stands before it on the screen may belong to the line"
		}
		return
	}
	v.Prompt = r.base
	if r.shows(v.Shown, "") {
		v.Seen, v.Why = Hidden, "the screen shows nothing of what was typed"
		return
	}
	v.Seen, v.Why = Differ, "the screen shows something else than what was typed"
}

// lookEmpty is for a line into which nothing was typed. The shell may have put something there all the same.
func (r *Reader) lookEmpty(v *View) {
	v.Prompt, v.Seen = r.base, Nothing
	for _, p := range r.prompts {
		if rest, ok := strings.CutPrefix(v.Shown, p); ok && strings.TrimSpace(rest) != "" && strings.TrimSpace(rest) != r.rest {
			v.Text, v.Prompt, v.Seen = rest, p, Screen
		}
	}
}

// shows says whether the row is the prompt and s, or as many stars.
func (r *Reader) shows(row, s string) bool {
	row = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(row), r.rest))
	base := strings.TrimSpace(r.base)
	rest, ok := strings.CutPrefix(row, base)
	return ok && (strings.TrimSpace(rest) == s || strings.Trim(rest, "*• ") == "")
}

// find looks for s where the line at the cursor ends, and returns what stands before it in its row.
func (r *Reader) find(s string) (prompt string, ok bool) {
	if i := strings.LastIndexByte(s, '\n'); i >= 0 {
		if s = s[i+1:]; strings.TrimSpace(s) == "" {
			return "", r.row() == "" || r.promptLike(r.row())
		}
	}
	_, y1 := r.rows()
	all := r.cells(0, y1)
	want := []rune(strings.TrimRight(s, " "))
	for _, cells := range [][]cell{all, withoutRest(all, r.rest)} {
		n := len(cells) - len(want)
		if n < 0 || text(cells[n:]) != string(want) {
			continue
		}
		first := n
		for first > 0 && cells[first-1].y == cells[n].y {
			first--
		}
		return text(cells[first:n]), true
	}
	return "", false
}

func withoutRest(all []cell, rest string) []cell {
	n := len(all) - len([]rune(rest))
	if rest == "" || n < 0 || text(all[n:]) != rest {
		return all
	}
	for n > 0 && all[n-1].r == ' ' {
		n--
	}
	return all[:n]
}

// search is what editors show while they look through the history.
var search = regexp.MustCompile("^\\((?:failed )?(?:reverse-|forward-)?i-search\\)[`'].*?': (.*)$")

// lookShown takes the line from the screen alone.
func (r *Reader) lookShown(v *View) {
	v.Seen, v.Prompt = Screen, r.base
	if m := search.FindStringSubmatch(v.Shown); m != nil {
		v.Text = m[1]
	} else {
		v.Text, v.Prompt = r.behindPrompt(v.Shown)
	}
	v.Text = strings.TrimSpace(strings.TrimSuffix(strings.TrimRight(v.Text, " "), r.rest))
	switch {
	case v.Text != "":
	case r.typed > 0:
		v.Seen, v.Why = Hidden, "the screen shows nothing of what was typed"
	default:
		v.Seen, v.Why = Differ, "keys were sent of which the screen shows nothing"
	}
	if v.Seen == Screen && v.Prompt == "" && search.FindStringSubmatch(v.Shown) == nil {
		v.Seen, v.Why = Differ, "it cannot be told where on the screen the line begins"
	}
}

// behindPrompt cuts a known prompt off row.
func (r *Reader) behindPrompt(row string) (rest, prompt string) {
	known := append([]string{r.base, r.lastBase}, r.prompts...)
	for _, p := range known {
		if p == "" || !r.isPrompt(p) && !r.promptLike(p) {
			continue
		}
		if t, ok := strings.CutPrefix(row, p); ok {
			return t, p
		}
		if strings.TrimRight(p, " ") == row {
			return "", p
		}
	}
	return row, ""
}

func (r *Reader) isPrompt(s string) bool {
	for _, p := range r.prompts {
		if s == p {
			return true
		}
	}
	return false
}

// countMarks counts what looks like the end of a prompt.
func countMarks(s string) (n int) {
	for _, m := range []string{"$ ", "# ", "% ", "> ", "❯ ", "» "} {
		n += strings.Count(s, m)
	}
	return n
}

// promptLike says whether s, which stands before a line, can be a prompt and no more: it ends like one, and does not
// hold more ends of prompts than the first prompt of the session did.
func (r *Reader) promptLike(s string) bool {
	end := strings.TrimRight(s, " ")
	if end == "" {
		return true
	}
	n := countMarks(s)
	last, _ := utf8.DecodeLastRuneInString(end)
	switch {
	case n > 0:
		return n <= max(r.marks, 1) && strings.ContainsRune("$#%>❯»", last)
	case strings.ContainsRune("$#%>❯»:?])", last), strings.IndexFunc(end, unicode.IsLetter) < 0:
		return true
	}
	return r.marks == 0
}

// isAnswer says whether s is what programs ask for: yes, no, a number. A shell would take it for a command that
// nobody has.
func isAnswer(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "y", "n", "yes", "no", "q", "a", "all":
		return true
	}
	return len(s) <= 3 && strings.Trim(s, "0123456789") == ""
}

// unfinished says whether every kind of shell goes on reading after s.
func unfinished(s string) bool {
	if len(s) > MaxLine/2 || strings.ContainsAny(s, "!#") || strings.Contains(s, "$'") || strings.Contains(s, "((") {
		return false
	}
	ends := 0
	for strings.HasSuffix(s[:len(s)-ends], `\`) {
		ends++
	}
	if ends%2 == 1 {
		return parsesAs(s[:len(s)-1], func(err error) bool { return err == nil || syntax.IsIncomplete(err) })
	}
	return parsesAs(s+"\n", func(err error) bool { return err != nil && syntax.IsIncomplete(err) })
}

// parsesAs says whether is holds for what every grammar says of s.
func parsesAs(s string, is func(error) bool) bool {
	for _, lang := range []syntax.LangVariant{syntax.LangBash, syntax.LangPOSIX, syntax.LangZsh} {
		_, err := syntax.NewParser(syntax.Variant(lang)).Parse(strings.NewReader(s), "")
		if !is(err) {
			return false
		}
	}
	return true
}
