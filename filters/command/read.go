package command

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// tableReader reads one source. README.md describes the format.
type tableReader struct {
	table *Table
	name  string
	errs  []error
	seen  map[string]bool // what this source has said

	line  int
	stack [][]*entry // rows that an indented line may belong to, by depth; one line may name several
}

// maxTableErrors bounds the mistakes that are told at once.
const maxTableErrors = 20

// token is one word of a line, with its column in bytes from 1.
type token struct {
	text   string
	column int
}

func (r *tableReader) fail(column int, format string, args ...any) {
	if len(r.errs) < maxTableErrors {
		r.errs = append(r.errs, fmt.Errorf("%s:%d:%d: %s", r.name, r.line, column, fmt.Sprintf(format, args...)))
	}
}

func (r *tableReader) read(text []byte) {
	r.line = 1
	if len(text) > maxTable {
		r.fail(1, "longer than %d bytes", maxTable)
		return
	}
	if !utf8.Valid(text) {
		r.fail(1, "not valid UTF-8")
		return
	}
	for i, line := range strings.Split(string(text), "\n") {
		r.line = i + 1
		r.row(strings.TrimSuffix(line, "\r"))
	}
}

func (r *tableReader) row(line string) {
	depth := len(line) - len(strings.TrimLeft(line, "\t"))
	toks, ok := r.tokens(line, depth)
	if !ok || len(toks) == 0 {
		return
	}
	word, names, items, ok := r.split(toks)
	if !ok {
		return
	}
	switch word.text {
	case "program":
		r.program(word, depth, names, items)
	case "sub":
		r.sub(word, depth, names, items)
	case "option":
		r.option(word, depth, names, items)
	case "path":
		r.path(word, depth, names, items)
	case "variable":
		r.variable(word, depth, names, items)
	default:
		r.fail(word.column, "unknown row %q; rows are program, sub, option, path and variable", word.text)
	}
}

// tokens cuts a line at blanks; between double quotes, which may begin inside a word, blanks do not count.
func (r *tableReader) tokens(line string, from int) ([]token, bool) {
	var toks []token
	for i := from; i < len(line); {
		switch c := line[i]; {
		case c == ' ':
			i++
		case c == '\t':
			r.fail(i+1, "tab within a line; tabs are for indentation only")
			return nil, false
		case c == '#':
			return toks, true
		default:
			end, quoted := i, false
			for end < len(line) && (quoted || line[end] != ' ' && line[end] != '\t') {
				if line[end] == '"' {
					quoted = !quoted
				}
				end++
			}
			if quoted {
				r.fail(i+1, "quote without an end")
				return nil, false
			}
			toks = append(toks, token{line[i:end], i + 1})
			i = end
		}
	}
	return toks, true
}

// split cuts a row into its first word, the names before the colon and the items behind it.
func (r *tableReader) split(toks []token) (word token, names, items []token, ok bool) {
	word, names = toks[0], toks[1:]
	for i, t := range names {
		if i > 0 && t.text == ":" { // the first name may be the builtin :
			names, items = names[:i], names[i+1:]
			break
		}
	}
	if len(names) == 0 {
		r.fail(word.column, "%s without a name; write: %s NAME ... : WHAT ...", word.text, word.text)
		return word, nil, nil, false
	}
	return word, names, items, true
}

// parents returns the rows that a row at depth belongs to.
func (r *tableReader) parents(word token, depth int) []*entry {
	if depth < 1 || depth > len(r.stack) {
		r.fail(word.column, "%s must be indented by one tab under a program or sub", word.text)
		return nil
	}
	r.stack = r.stack[:depth]
	return r.stack[depth-1]
}

// once reports whether key is new in this source.
func (r *tableReader) once(t token, key string) bool {
	if r.seen[key] {
		r.fail(t.column, "%q is said twice", t.text)
		return false
	}
	r.seen[key] = true
	return true
}

func (r *tableReader) program(word token, depth int, names, items []token) {
	if depth != 0 {
		r.fail(word.column, "program must not be indented")
		return
	}
	r.stack = r.stack[:0]
	var rows []*entry
	for _, name := range names {
		if strings.ContainsAny(name.text, "/\"") {
			r.fail(name.column, "a program's name has no slash or quote: %q", name.text)
			continue
		}
		if !r.once(name, "program "+name.text) {
			continue
		}
		e := r.items(newEntry(name.text), items)
		r.table.programs[name.text] = e
		rows = append(rows, e)
	}
	r.stack = append(r.stack, rows)
}

func newEntry(name string) *entry {
	return &entry{name: name, options: map[string]*option{}, subs: map[string]*entry{}}
}

func (r *tableReader) sub(word token, depth int, names, items []token) {
	parents := r.parents(word, depth)
	var rows []*entry
	for _, parent := range parents {
		for _, name := range names {
			e := r.items(newEntry(name.text), items)
			if strings.HasSuffix(name.text, "*") {
				parent.globs = append(dropEntry(parent.globs, name.text), e)
			} else {
				parent.subs[name.text] = e
			}
			rows = append(rows, e)
		}
	}
	r.stack = append(r.stack, rows)
}

// dropEntry removes the row called name, which a program like another may have from that.
func dropEntry(rows []*entry, name string) []*entry {
	var kept []*entry
	for _, e := range rows {
		if e.name != name {
			kept = append(kept, e)
		}
	}
	return kept
}

func (r *tableReader) items(e *entry, items []token) *entry {
	for i, t := range items {
		key, val, hasVal := strings.Cut(t.text, "=")
		if key == "like" && hasVal {
			if i > 0 {
				r.fail(t.column, "like= must come first")
				continue
			}
			model := r.table.programs[val]
			if model == nil {
				r.fail(t.column, "no program %q above this line", val)
				continue
			}
			name := e.name
			e = model.clone()
			e.name = name
			continue
		}
		if c, ok := ClassOf(t.text); ok {
			e.class |= c
			continue
		}
		r.item(e, t, key, val)
	}
	return e
}

// item reads an item of a program or sub that is no class.
func (r *tableReader) item(e *entry, t token, key, val string) {
	switch key {
	case "operands":
		r.operands(e, t, val)
		return
	case "opaque":
		e.why = r.quoted(t, val)
		return
	case "stdin":
		e.stdin = r.classes(t, key, val)
		return
	case "alone":
		e.alone = r.classes(t, key, val)
		return
	case "hook":
		if e.hook = hooks[val]; e.hook.run == nil {
			r.fail(t.column, "unknown hook %q", val)
		}
		return
	}
	switch t.text {
	case "harmless":
	case "strict":
		e.strict = true
	case "posix":
		e.posix = true
	case "onedash":
		e.onedash = true
	case "assigns":
		e.assigns = true
	case "bare":
		e.bare = true
	default:
		r.fail(t.column, "unknown item %q; items are classes (%s), harmless, opaque=\"why\", operands=, stdin=, alone=, like=, "+
			"hook=, strict, posix, onedash, assigns and bare", t.text, strings.Join(classNames[:], " "))
	}
}

// classes reads the value of stdin= and alone=.
func (r *tableReader) classes(t token, key, val string) Class {
	var all Class
	for _, name := range strings.Split(val, ",") {
		c, ok := ClassOf(name)
		if !ok {
			r.fail(t.column, "%s= takes classes, not %q", key, name)
		}
		all |= c
	}
	return all
}

func (r *tableReader) quoted(t token, val string) string {
	s, err := strconv.Unquote(val)
	if err != nil || s == "" {
		r.fail(t.column, "opaque= takes a reason in double quotes")
		return "by the table"
	}
	return s
}

// operands reads a list of kinds; one may end in ... to stand for any number, and one more may follow for the last.
func (r *tableReader) operands(e *entry, t token, val string) {
	e.operands, e.hasRest, e.hasFinal, e.rest, e.final = nil, false, false, kindNone, kindNone
	for _, word := range strings.Split(val, ",") {
		name, many := strings.CutSuffix(word, "...")
		k, ok := kinds[name]
		switch {
		case !ok:
			r.fail(t.column, "unknown kind of operand %q", name)
		case e.hasFinal || e.hasRest && many:
			r.fail(t.column, "only one kind may follow the one with ...")
		case many:
			e.rest, e.hasRest = k, true
		case e.hasRest:
			e.final, e.hasFinal = k, true
		default:
			e.operands = append(e.operands, k)
		}
	}
	if !e.hasRest && len(e.operands) > 0 {
		if last := e.operands[len(e.operands)-1]; last == kindRun || last == kindShell {
			return
		}
		// One more operand than was said is taken for one like the last.
		e.rest = e.operands[len(e.operands)-1]
	}
}

func (r *tableReader) option(word token, depth int, names, items []token) {
	parents := r.parents(word, depth)
	if parents == nil {
		return
	}
	var model option
	for _, t := range items {
		r.optionItem(&model, t)
	}
	for _, t := range names {
		o := model
		r.optionName(&o, t)
		for _, parent := range parents {
			parent.options[o.name] = &o
		}
	}
}

// optionName reads -x, -x=KIND or -x[=KIND].
func (r *tableReader) optionName(o *option, t token) {
	name, val, has := strings.Cut(t.text, "=")
	if cut, ok := strings.CutSuffix(name, "["); ok && has {
		name, val, o.attached = cut, strings.TrimSuffix(val, "]"), true
	} else {
		o.value = has
	}
	if val != "" {
		k, ok := kinds[val]
		if !ok {
			r.fail(t.column, "unknown kind of value %q", val)
		}
		o.kind = k
	}
	if len(name) < 2 || name[0] != '-' && name[0] != '+' {
		r.fail(t.column, "an option begins with a dash: %q", name)
	}
	o.name = name
}

func (r *tableReader) optionItem(o *option, t token) {
	if c, ok := ClassOf(t.text); ok {
		o.class |= c
		return
	}
	key, val, _ := strings.Cut(t.text, "=")
	switch {
	case key == "opaque":
		o.why = r.quoted(t, val)
	case t.text == "shift":
		o.shift = true
	case t.text == "info":
		o.info = true
	case t.text == "query":
		o.query = true
	case t.text == "harmless":
	default:
		r.fail(t.column, "unknown item %q of an option; items are classes, harmless, opaque=\"why\", shift, info and query", t.text)
	}
}

func (r *tableReader) path(word token, depth int, names, items []token) {
	var c Class
	for _, t := range items {
		one, ok := ClassOf(t.text)
		if !ok {
			r.fail(t.column, "path takes classes, not %q", t.text)
		}
		c |= one
	}
	if depth != 0 || c == 0 {
		r.fail(word.column, "write: path PATTERN ... : CLASS ..., without indentation")
		return
	}
	for _, t := range names {
		if r.once(t, "path "+t.text) {
			r.table.paths = append(r.table.paths, pathRule{t.text, c})
		}
	}
}

func (r *tableReader) variable(word token, depth int, names, items []token) {
	var k variableKind
	switch {
	case depth == 0 && len(items) == 1 && items[0].text == "harmless":
		k = variableHarmless
	case depth == 0 && len(items) == 1 && items[0].text == "opaque":
		k = variableOpaque
	default:
		r.fail(word.column, "write: variable NAME ... : harmless, or : opaque, without indentation")
		return
	}
	for _, t := range names {
		if !r.once(t, "variable "+t.text) {
			continue
		}
		if prefix, ok := strings.CutSuffix(t.text, "*"); ok {
			r.table.prefixes = append([]prefixVariable{{prefix, k}}, r.table.prefixes...)
			continue
		}
		r.table.variables[t.text] = k
	}
}
