package command

import (
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// walker goes through the syntax tree of a command, and of the commands within it, and collects facts.
type walker struct {
	table *Table
	f     *Facts
	depth int
	words int
	full  bool     // a bound was hit: nothing more is looked at
	via   []string // what runs the commands looked at; never changed in place
	dirs  []string // where cd may have gone

	// fed says that standard input is a pipe, a file or a here-document; input is its text if that is known.
	fed   bool
	input *string

	// loose counts what makes it uncertain that a statement runs, and runs in this shell: conditions, loops, pipes.
	loose int
	funcs map[string]bool // functions that are certainly defined here
	nums  map[string]bool // variables that certainly hold a number; false: something else was assigned
	sums  []string        // variables whose text is evaluated as arithmetic
}

func (w *walker) opaque(why string) { w.f.opaque(why) }

// deeper enters a level of nesting; the caller leaves it with w.depth-- if it is told to go on.
func (w *walker) deeper() bool {
	if w.full {
		return false
	}
	if w.depth >= MaxDepth {
		w.full = true
		w.opaque("nested too deeply")
		return false
	}
	w.depth++
	return true
}

// text reads text as a shell would and walks it.
func (w *walker) text(text string) {
	if why := badText(text); why != "" {
		w.opaque(why)
		return
	}
	if !w.deeper() {
		return
	}
	defer func() { w.depth-- }()
	file, err := parseShell(text)
	if err != nil {
		// A shell runs the lines before the one it cannot read.
		w.opaque(parseWhy(err))
	}
	if file != nil {
		w.stmts(file.Stmts)
	}
}

// nested walks the text of another shell, run by via.
func (w *walker) nested(a arg, via ...string) {
	if a.flags != 0 {
		// What is known of it is looked at all the same: it makes the facts more careful.
		w.opaque("the code that " + via[len(via)-1] + " runs is known only when it runs")
		a.text = strings.ReplaceAll(a.text, "$(...)", "$_")
	}
	saved := *w
	w.via = append(w.via[:len(w.via):len(w.via)], via...)
	w.funcs, w.loose = nil, w.loose+1
	w.text(a.text)
	w.via, w.funcs, w.loose, w.dirs = saved.via, saved.funcs, saved.loose, saved.dirs
}

// finish draws the conclusions that need the whole command.
func (w *walker) finish() {
	for _, name := range w.sums {
		if !w.nums[name] {
			w.opaque("arithmetic evaluates the text of " + name)
		}
	}
}

func (w *walker) stmts(list []*syntax.Stmt) {
	for _, s := range list {
		w.stmt(s)
	}
}

// inner walks statements that may not run, or run in a process of their own.
func (w *walker) inner(list []*syntax.Stmt) {
	w.loose++
	w.stmts(list)
	w.loose--
}

func (w *walker) stmt(s *syntax.Stmt) {
	if s == nil || !w.deeper() {
		return
	}
	fed, input := w.fed, w.input
	if s.Background || s.Coprocess || s.Disown {
		w.loose++
		defer func() { w.loose-- }()
	}
	for _, r := range s.Redirs {
		w.redirect(s, r)
	}
	w.command(s)
	w.fed, w.input = fed, input
	w.depth--
}

func (w *walker) command(s *syntax.Stmt) {
	switch c := s.Cmd.(type) {
	case nil:
	case *syntax.CallExpr:
		w.call(c)
	case *syntax.BinaryCmd:
		w.binary(c)
	case *syntax.Block:
		w.inner(c.Stmts)
	case *syntax.Subshell:
		w.inner(c.Stmts)
	case *syntax.IfClause:
		for ; c != nil; c = c.Else {
			w.inner(c.Cond)
			w.inner(c.Then)
		}
	case *syntax.WhileClause:
		w.inner(c.Cond)
		w.inner(c.Do)
	case *syntax.ForClause:
		w.loop(c)
	case *syntax.CaseClause:
		w.cases(c)
	case *syntax.FuncDecl:
		w.function(c, s)
	case *syntax.TestClause:
		w.test(c.X)
	case *syntax.DeclClause:
		w.declare(c)
	case *syntax.TimeClause:
		w.stmt(c.Stmt)
	case *syntax.CoprocClause:
		w.loose++
		w.fed, w.input = true, nil
		w.stmt(c.Stmt)
		w.loose--
	case *syntax.ArithmCmd:
		w.arith(c.X)
		w.opaque("dash runs what stands in (( )) as a command")
	case *syntax.LetClause:
		for _, x := range c.Exprs {
			w.arith(x)
		}
		w.opaque("let evaluates text as arithmetic")
	default:
		w.opaque("unknown kind of shell command")
	}
}

// binary walks a list or pipeline. Lists are long and nest to the left: that side is not walked by recursion.
func (w *walker) binary(b *syntax.BinaryCmd) {
	spine := []*syntax.BinaryCmd{b}
	for {
		x, ok := b.X.Cmd.(*syntax.BinaryCmd)
		if !ok || len(b.X.Redirs) > 0 {
			break
		}
		spine, b = append(spine, x), x
	}
	w.loose++
	w.stmt(b.X)
	for _, b := range slices.Backward(spine) {
		fed, input := w.fed, w.input
		if b.Op == syntax.Pipe || b.Op == syntax.PipeAll {
			w.fed, w.input = true, nil
		}
		w.stmt(b.Y)
		w.fed, w.input = fed, input
	}
	w.loose--
}

func (w *walker) loop(c *syntax.ForClause) {
	switch l := c.Loop.(type) {
	case *syntax.WordIter:
		w.iterate(l, c.Select)
	case *syntax.CStyleLoop:
		w.arith(l.Init)
		w.arith(l.Cond)
		w.arith(l.Post)
	}
	w.inner(c.Do)
}

func (w *walker) iterate(l *syntax.WordIter, choose bool) {
	allNumbers := len(l.Items) > 0 && !choose
	for _, item := range l.Items {
		w.inside(item.Parts)
		if a := valueOf(item); !isNumber(a) {
			allNumbers = false
		}
	}
	v := arg{text: "$" + l.Name.Value, flags: unknown | lead}
	if allNumbers {
		v.flags = number
	}
	w.variable(l.Name.Value, v, false)
}

func (w *walker) cases(c *syntax.CaseClause) {
	w.inside(c.Word.Parts)
	for _, item := range c.Items {
		for _, p := range item.Patterns {
			w.inside(p.Parts)
		}
		w.inner(item.Stmts)
	}
}

// function walks the body of a function as if it were called: it can be, by many roads.
func (w *walker) function(c *syntax.FuncDecl, s *syntax.Stmt) {
	if c.Name == nil {
		w.opaque("function without a plain name")
		w.loose++
		w.stmt(c.Body)
		w.loose--
		return
	}
	name := c.Name.Value
	if w.table.program(name) != nil {
		w.opaque("function shadows " + name)
	}
	if callsItself(c.Body, name) {
		w.opaque("function starts itself in further processes")
		w.class(Destructive)
	}
	if w.loose == 0 && !s.Background && len(s.Redirs) == 0 && w.table.program(name) == nil {
		if w.funcs == nil {
			w.funcs = map[string]bool{}
		}
		w.funcs[name] = true
	} else {
		w.opaque("function " + name + " may or may not be defined")
	}
	w.loose++
	w.stmt(c.Body)
	w.loose--
}

// callsItself reports whether body starts name and makes processes: a fork bomb, or a chain without an end.
func callsItself(body *syntax.Stmt, name string) bool {
	var calls, forks bool
	syntax.Walk(body, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.CallExpr:
			calls = calls || len(n.Args) > 0 && valueOf(n.Args[0]).text == name
		case *syntax.BinaryCmd:
			forks = forks || n.Op == syntax.Pipe || n.Op == syntax.PipeAll
		case *syntax.CmdSubst, *syntax.ProcSubst, *syntax.Subshell, *syntax.CoprocClause:
			forks = true
		case *syntax.Stmt:
			forks = forks || n.Background
		}
		return true
	})
	return calls && forks
}

// call walks a simple command.
func (w *walker) call(c *syntax.CallExpr) {
	for _, as := range c.Assigns {
		w.assign(as, len(c.Args) > 0)
	}
	if len(c.Args) == 0 {
		return
	}
	args := make([]arg, 0, len(c.Args)+2)
	for _, word := range c.Args {
		w.inside(word.Parts)
		args = words(args, word)
	}
	if w.words += len(args); w.words > maxWords {
		w.full = true
		w.opaque("too many words")
		return
	}
	w.shellRun(args)
}

func (w *walker) assign(as *syntax.Assign, exported bool) {
	if as.Index != nil {
		w.arith(as.Index)
	}
	v := arg{}
	if as.Value != nil {
		w.inside(as.Value.Parts)
		v = valueOf(as.Value)
	}
	if as.Array != nil {
		v.flags |= unknown
		for _, el := range as.Array.Elems {
			if el.Index != nil {
				w.arith(el.Index)
			}
			if el.Value != nil {
				w.inside(el.Value.Parts)
			}
		}
	}
	if as.Name != nil {
		if as.Append {
			v.flags |= unknown
		}
		w.variable(as.Name.Value, v, exported)
	}
}

// variable notes that a variable is set, and exported to what runs next.
func (w *walker) variable(name string, v arg, exported bool) {
	kind := w.table.variable(name)
	if strings.HasSuffix(name, "PAGER") && v.flags == 0 && (v.text == "cat" || v.text == "") {
		kind = variableHarmless // how scripts say that they want no pager
	}
	switch {
	case kind == variableOpaque:
		w.opaque("assignment to " + name + " changes what other commands do")
	case kind == variableOther && exported:
		w.opaque("the environment of what runs is changed: " + name)
	}
	numeric := isNumber(v)
	if old, set := w.nums[name]; set && !old || numeric && w.loose > 0 {
		return
	}
	if w.nums == nil {
		w.nums = map[string]bool{}
	}
	w.nums[name] = numeric
}

// isNumber reports whether a is certainly an unsigned decimal number.
func isNumber(a arg) bool {
	if a.is(lead | glob | stream) {
		return false
	}
	if a.is(number) {
		return strings.HasPrefix(a.text, "$")
	}
	return a.flags == 0 && a.text != "" && strings.Trim(a.text, "0123456789") == ""
}

// declare walks declare, export, local, readonly and typeset.
func (w *walker) declare(c *syntax.DeclClause) {
	name := c.Variant.Value
	exported := name == "export"
	p := Program{Name: name}
	for _, as := range c.Args {
		if as.Naked && as.Name == nil {
			w.inside(as.Value.Parts)
			a := valueOf(as.Value)
			p.Args = append(p.Args, a.text)
			switch {
			case a.flags != 0 || !strings.HasPrefix(a.text, "-") && !strings.HasPrefix(a.text, "+"):
				w.opaque(name + " of what is known only to the shell")
			case strings.ContainsAny(a.text, "inI"):
				w.opaque(name + " " + a.text + " makes assignments evaluate text")
			case strings.Contains(a.text, "x"):
				exported = true
			}
			continue
		}
		p.Args = append(p.Args, as.Name.Value)
		if as.Naked {
			// Exported with the value it has.
			if exported && w.table.variable(as.Name.Value) != variableHarmless {
				w.opaque("the environment of what runs is changed: " + as.Name.Value)
			}
			continue
		}
		if as.Value != nil && valueOf(as.Value).is(lead) {
			w.opaque("dash splits the value that " + name + " assigns into words")
		}
		w.assign(as, exported)
	}
	p.Via = w.via
	w.program(p)
}

// program adds p to the facts.
func (w *walker) program(p Program) bool {
	if len(w.f.Programs) >= MaxPrograms {
		w.full = true
		w.opaque("too many programs")
		return false
	}
	w.f.Programs = append(w.f.Programs, p)
	return true
}

func (w *walker) class(c Class) { w.f.Classes |= c }
