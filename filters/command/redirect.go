package command

import (
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// redirect walks one redirection of s.
func (w *walker) redirect(s *syntax.Stmt, r *syntax.Redirect) {
	w.inside(r.Word.Parts)
	target := valueOf(r.Word)
	entry := Redirect{Op: r.Op.String(), Path: target.text}
	if r.N != nil {
		entry.Fd = r.N.Value
		if strings.ContainsAny(entry.Fd, "[$`") {
			w.opaque("redirection to a variable with a subscript")
		}
	}
	if hasBraces(r.Word) {
		target.flags |= unknown | lead
	}
	if len(w.f.Redirects) < maxWords {
		w.f.Redirects = append(w.f.Redirects, entry)
	}
	switch r.Op {
	case syntax.Hdoc, syntax.DashHdoc:
		w.heredoc(r)
	case syntax.WordHdoc:
		w.fed, w.input = true, nil
		if target.flags == 0 {
			w.input = &target.text
		}
	case syntax.RdrIn:
		w.fed, w.input = target.text != "/dev/null", nil
		w.read(target)
	case syntax.RdrInOut:
		w.fed, w.input = true, nil
		w.read(target)
		w.write(target)
	case syntax.DplIn, syntax.DplOut:
		w.duplicate(r, target)
	case syntax.RdrAll, syntax.AppAll:
		if after(s, r) {
			w.opaque("dash reads " + entry.Op + " as & and a redirection of what follows")
		}
		w.write(target)
	default:
		w.write(target)
		if r.Op != syntax.AppOut && !isStream(target) && empties(s) {
			w.class(Destructive)
		}
	}
}

// empties reports whether s writes nothing, so that > leaves its file empty.
func empties(s *syntax.Stmt) bool {
	c, ok := s.Cmd.(*syntax.CallExpr)
	if s.Cmd == nil || ok && len(c.Args) == 0 {
		return true
	}
	if !ok {
		return false
	}
	switch name := valueOf(c.Args[0]).text; name {
	case ":", "true", "false":
		return true
	case "cat", "cp":
		return len(c.Args) == 2 && valueOf(c.Args[1]).text == "/dev/null"
	case "echo", "printf":
		return name == "echo" && len(c.Args) == 2 && valueOf(c.Args[1]).text == "-n" || len(c.Args) == 2 && valueOf(c.Args[1]).text == ""
	}
	return false
}

// after reports whether words of s stand behind r.
func after(s *syntax.Stmt, r *syntax.Redirect) bool {
	c, ok := s.Cmd.(*syntax.CallExpr)
	return ok && len(c.Args) > 0 && c.Args[len(c.Args)-1].Pos().After(r.OpPos)
}

// duplicate walks <&WORD and >&WORD: a descriptor, a dash, or, after >&, a file.
func (w *walker) duplicate(r *syntax.Redirect, target arg) {
	if r.Op == syntax.DplIn {
		w.fed, w.input = true, nil
	}
	if target.flags == 0 && target.text != "" && strings.Trim(target.text, "0123456789-") == "" {
		return
	}
	if target.flags == number && isNumber(target) {
		return
	}
	if r.Op == syntax.DplOut {
		w.write(target)
		return
	}
	w.opaque("input from a descriptor known only to the shell")
}

// heredoc walks the body of a here-document.
func (w *walker) heredoc(r *syntax.Redirect) {
	w.fed, w.input = true, nil
	for _, part := range r.Word.Parts {
		switch p := part.(type) {
		case *syntax.Lit, *syntax.SglQuoted:
		case *syntax.DblQuoted:
			if len(p.Parts) > 1 {
				w.opaque("here-document with a delimiter that shells read differently")
			}
		default:
			w.opaque("here-document with a delimiter that shells read differently")
		}
	}
	if r.Hdoc == nil {
		empty := ""
		w.input = &empty
		return
	}
	w.inside(r.Hdoc.Parts)
	if text, ok := hdocText(r); ok {
		w.input = &text
	}
}

// hdocText returns the text of a here-document in which nothing is expanded.
func hdocText(r *syntax.Redirect) (string, bool) {
	quoted := false
	for _, part := range r.Word.Parts {
		lit, ok := part.(*syntax.Lit)
		quoted = quoted || !ok || strings.Contains(lit.Value, `\`)
	}
	var b strings.Builder
	for _, part := range r.Hdoc.Parts {
		lit, ok := part.(*syntax.Lit)
		if !ok || !quoted && strings.Contains(lit.Value, `\`) {
			return "", false
		}
		b.WriteString(lit.Value)
	}
	if r.Op == syntax.DashHdoc {
		return stripTabs(b.String()), true
	}
	return b.String(), true
}

func stripTabs(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimLeft(line, "\t")
	}
	return strings.Join(lines, "\n")
}

// streams are the names that stand for what a command already has open, or for nothing.
var streams = []string{"-", "/dev/null", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/tty", "/dev/zero", "/dev/full",
	"/dev/random", "/dev/urandom"}

// isStream reports whether path is no file.
func isStream(a arg) bool {
	return a.is(stream) || a.flags == 0 && (slices.Contains(streams, a.text) || strings.HasPrefix(a.text, "/dev/fd/"))
}

// read notes that a file is read.
func (w *walker) read(a arg) {
	if isStream(a) {
		return
	}
	if a.is(unknown | glob) {
		w.f.Dynamic = true
	}
	w.class(Read)
	w.socket(a, Network)
	w.f.Reads = w.add(w.f.Reads, a.text)
}

// write notes that a file is written.
func (w *walker) write(a arg) {
	if isStream(a) {
		return
	}
	w.change(a, "written")
	w.socket(a, Network|Exfiltration)
	w.f.Writes = w.add(w.f.Writes, a.text)
}

// remove notes that a file is removed.
func (w *walker) remove(a arg) {
	if isStream(a) {
		return
	}
	w.class(Destructive)
	w.change(a, "removed")
	w.f.Removes = w.add(w.f.Removes, a.text)
}

// move notes that a file goes elsewhere.
func (w *walker) move(a arg) {
	w.change(a, "moved")
	w.f.Removes = w.add(w.f.Removes, a.text)
}

func (w *walker) change(a arg, how string) {
	if a.is(unknown | lead) {
		w.f.Dynamic = true
	}
	if a.is(unknown) {
		w.opaque("the file that is " + how + " is known only when it runs: " + a.text)
	}
	w.class(Write | w.table.path(a.text))
	if !rooted(a.text) {
		for _, dir := range w.dirs {
			w.class(w.table.path(dir + "/" + a.text))
		}
	}
}

// socket notes the host of bash's /dev/tcp/HOST/PORT and /dev/udp/HOST/PORT.
func (w *walker) socket(a arg, c Class) {
	if !strings.HasPrefix(a.text, "/dev/tcp/") && !strings.HasPrefix(a.text, "/dev/udp/") {
		return
	}
	host, _, _ := strings.Cut(a.text[len("/dev/tcp/"):], "/")
	w.class(c)
	w.f.Hosts = addOnce(w.f.Hosts, strings.ToLower(host))
}

// add adds a path to a list, and where the command changes directory also the path as seen from there.
func (w *walker) add(list []string, path string) []string {
	list = addOnce(list, path)
	if len(w.dirs) == 0 || rooted(path) {
		return list
	}
	for _, dir := range w.dirs {
		list = addOnce(list, strings.TrimSuffix(dir, "/")+"/"+path)
	}
	return list
}

func rooted(path string) bool {
	return strings.HasPrefix(path, "/") || strings.HasPrefix(path, "~")
}

func addOnce(list []string, s string) []string {
	if len(list) >= maxWords || slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}
