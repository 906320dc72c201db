package command

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// inside walks what the shell runs and evaluates while it expands a word.
func (w *walker) inside(parts []syntax.WordPart) {
	for i, part := range parts {
		switch p := part.(type) {
		case *syntax.Lit:
			if i > 0 && strings.HasPrefix(p.Value, "[") {
				if e, ok := parts[i-1].(*syntax.ParamExp); ok && e.Short {
					w.opaque("zsh evaluates a subscript after $" + paramName(e))
				}
			}
		case *syntax.SglQuoted:
			if p.Dollar && strings.Contains(p.Value, `\'`) {
				w.opaque(`dash ends $'...' at \'`)
			}
		case *syntax.DblQuoted:
			w.inside(p.Parts)
		case *syntax.CmdSubst:
			w.substitution(p.Stmts)
			if p.TempFile || p.ReplyVar {
				w.opaque("shells differ on ${ ...; }")
			}
		case *syntax.ProcSubst:
			fed, input := w.fed, w.input
			if p.Op == syntax.CmdOut {
				w.fed, w.input = true, nil
			}
			w.substitution(p.Stmts)
			w.fed, w.input = fed, input
		case *syntax.ParamExp:
			w.param(p)
		case *syntax.ArithmExp:
			w.arith(p.X)
		case *syntax.ExtGlob:
			w.opaque("zsh reads code into " + p.Op.String() + "...)")
		}
	}
}

func (w *walker) substitution(list []*syntax.Stmt) {
	if w.deeper() {
		w.inner(list)
		w.depth--
	}
}

func (w *walker) insideWord(word *syntax.Word) {
	if word != nil && w.deeper() {
		w.inside(word.Parts)
		w.depth--
	}
}

// param walks a parameter expansion.
func (w *walker) param(p *syntax.ParamExp) {
	if p.Short {
		return
	}
	if p.Excl && p.Names == 0 {
		w.opaque("${!" + paramName(p) + "} evaluates the text of a variable")
	}
	if p.Flags != nil || p.NestedParam != nil || p.IsSet || p.Width || len(p.Modifiers) > 0 {
		w.opaque("shells differ on an expansion of " + paramName(p))
	}
	if p.Index != nil {
		w.arith(p.Index)
	}
	if p.Slice != nil {
		w.arith(p.Slice.Offset)
		w.arith(p.Slice.Length)
	}
	if p.Repl != nil {
		w.insideWord(p.Repl.Orig)
		w.insideWord(p.Repl.With)
	}
	if p.Exp == nil {
		return
	}
	switch p.Exp.Op {
	case syntax.OtherParamOps:
		w.opaque("${" + paramName(p) + "@...} may run what the variable holds")
	case syntax.AssignUnset, syntax.AssignUnsetOrNull:
		v := arg{flags: unknown}
		w.variable(paramName(p), v, false)
	}
	w.insideWord(p.Exp.Word)
}

// arith walks an arithmetic expression. A variable in it is evaluated as an expression in turn, and a subscript in that
// may hold $(...): so what a variable holds must be certain.
func (w *walker) arith(x syntax.ArithmExpr) {
	if x == nil || !w.deeper() {
		return
	}
	defer func() { w.depth-- }()
	switch x := x.(type) {
	case *syntax.BinaryArithm:
		w.arithAssign(x)
		w.arith(x.X)
		w.arith(x.Y)
	case *syntax.UnaryArithm:
		w.arith(x.X)
	case *syntax.ParenArithm:
		w.arith(x.X)
	case *syntax.Word:
		if x != nil {
			w.arithParts(x.Parts)
		}
	default:
		w.opaque("unknown kind of arithmetic")
	}
}

// arithAssign notes the number that an assignment in a loop's head leaves in a variable.
func (w *walker) arithAssign(x *syntax.BinaryArithm) {
	if x.Op != syntax.Assgn {
		return
	}
	if word, ok := x.X.(*syntax.Word); ok && syntax.ValidName(word.Lit()) {
		w.variable(word.Lit(), arg{text: "0"}, false)
	}
}

func (w *walker) arithParts(parts []syntax.WordPart) {
	for _, part := range parts {
		switch p := part.(type) {
		case *syntax.Lit:
			w.arithText(p.Value)
		case *syntax.SglQuoted:
			w.arithText(p.Value)
		case *syntax.DblQuoted:
			w.arithParts(p.Parts)
		case *syntax.ParamExp:
			w.param(p)
			if !numeric(p) {
				w.sums = append(w.sums, paramName(p))
			}
		case *syntax.ArithmExp:
			w.arith(p.X)
		default:
			w.inside([]syntax.WordPart{part})
			w.opaque("arithmetic evaluates what a command prints")
		}
	}
}

// arithText looks at one operand of arithmetic: a number, possibly with a base, or a name.
func (w *walker) arithText(s string) {
	switch {
	case s == "" || s == "@" || s == "*":
	case s[0] >= '0' && s[0] <= '9' && strings.Trim(s, "0123456789abcdefABCDEFxX") == "":
	case syntax.ValidName(s):
		w.sums = append(w.sums, s)
	default:
		w.opaque("arithmetic evaluates text")
	}
}

// test walks what stands in [[ ]]. dash knows no [[: to it, && and || in there end a command and < and > are
// redirections.
func (w *walker) test(x syntax.TestExpr) {
	if x == nil || !w.deeper() {
		return
	}
	defer func() { w.depth-- }()
	switch x := x.(type) {
	case *syntax.Word:
		w.inside(x.Parts)
	case *syntax.UnaryTest:
		if x.Op == syntax.TsVarSet || x.Op == syntax.TsRefVar {
			w.opaque("[[ -v ]] evaluates a subscript")
		}
		w.test(x.X)
	case *syntax.ParenTest:
		w.opaque("dash reads ( ) in [[ ]] as a subshell")
		w.test(x.X)
	case *syntax.BinaryTest:
		w.testBinary(x)
	}
}

func (w *walker) testBinary(x *syntax.BinaryTest) {
	switch x.Op {
	case syntax.AndTest, syntax.OrTest:
		if u, ok := x.Y.(*syntax.UnaryTest); !ok || u.Op == syntax.TsNot {
			if b, ok := x.Y.(*syntax.BinaryTest); !ok || !beginsUnary(b) {
				w.opaque("dash runs what stands after && or || in [[ ]]")
			}
		}
	case syntax.TsBefore, syntax.TsAfter:
		w.opaque("dash reads < and > in [[ ]] as redirections")
	case syntax.TsReMatch:
		if word, ok := x.Y.(*syntax.Word); ok && strings.ContainsAny(valueOf(word).text, "|&;()<>") {
			w.opaque("dash reads operators in a pattern of [[ ]]")
		}
	case syntax.TsEql, syntax.TsNeq, syntax.TsLeq, syntax.TsGeq, syntax.TsLss, syntax.TsGtr:
		for _, side := range []syntax.TestExpr{x.X, x.Y} {
			if word, ok := side.(*syntax.Word); ok {
				w.arithParts(word.Parts)
			}
		}
		return
	}
	w.test(x.X)
	w.test(x.Y)
}

// beginsUnary reports whether the first word of x is an operator with a dash.
func beginsUnary(x *syntax.BinaryTest) bool {
	for {
		switch y := x.X.(type) {
		case *syntax.UnaryTest:
			return y.Op != syntax.TsNot
		case *syntax.BinaryTest:
			x = y
		default:
			return false
		}
	}
}
