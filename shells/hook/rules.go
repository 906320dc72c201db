package hook

import (
	"fmt"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// Descriptor is the one by which a shell on the gate asks.
const Descriptor = 9

// isHeader tells whether text, as bash reports it, is the head of a compound command. Were it a simple
// command, its first word would be quoted.
func isHeader(text string) bool {
	for _, head := range []string{"for ", "select ", "case ", "((", "[[ "} {
		if strings.HasPrefix(text, head) {
			return true
		}
	}
	return false
}

var quoting = strings.NewReplacer("'", "", `"`, "", `\`, "", "\n", "")

// checkCommand refuses what would put the guard out of action, whatever the policy says.
func checkCommand(text string) error {
	if plain := quoting.Replace(text); strings.Contains(plain, "POSIXLY_CORRECT") || strings.Contains(plain, "__sallyport") {
		return fmt.Errorf("refused: POSIXLY_CORRECT and the names of the shell's guard are not for commands")
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil || len(file.Stmts) != 1 {
		return fmt.Errorf("refused: the guard cannot read this command; write it more plainly")
	}
	for _, r := range file.Stmts[0].Redirs {
		if touchesGuard(r) {
			return fmt.Errorf("refused: descriptor %d belongs to the shell's guard", Descriptor)
		}
	}
	call, ok := file.Stmts[0].Cmd.(*syntax.CallExpr)
	if !ok {
		return checkOther(file.Stmts[0].Cmd)
	}
	return checkWords(call.Args)
}

// touchesGuard tells whether a redirection names the guard's descriptor, or may.
func touchesGuard(r *syntax.Redirect) bool {
	hook := strconv.Itoa(Descriptor)
	if r.N != nil && (strings.TrimLeft(r.N.Value, "0") == hook || strings.HasPrefix(r.N.Value, "{")) {
		return true
	}
	if r.Op != syntax.DplIn && r.Op != syntax.DplOut {
		return false
	}
	s, ok := literal(r.Word)
	return !ok || strings.TrimLeft(strings.TrimSuffix(s, "-"), "0") == hook
}

// checkOther looks at builtins that the grammar sets apart: declare, export, let and the like.
func checkOther(cmd syntax.Command) error {
	switch cmd.(type) {
	case nil, *syntax.DeclClause, *syntax.LetClause, *syntax.ArithmCmd, *syntax.TestClause:
		return nil
	}
	return fmt.Errorf("refused: the guard cannot read this command; write it more plainly")
}

func checkWords(args []*syntax.Word) error {
	for len(args) > 0 {
		name, ok := literal(args[0])
		if !ok {
			if hasSlash(args[0]) {
				return nil // a path: no builtin
			}
			return fmt.Errorf("refused: in a guarded shell the name of a command must be written out")
		}
		args = args[1:]
		switch name {
		case "builtin", "command":
			for len(args) > 0 {
				if s, ok := literal(args[0]); !ok || !strings.HasPrefix(s, "-") {
					break
				}
				args = args[1:]
			}
			continue
		}
		if rule := rules[name]; rule != nil && !rule(args) {
			return fmt.Errorf("refused: this use of %s would put the shell's guard out of action", name)
		}
		return nil
	}
	return nil
}

// rules say which arguments of a builtin leave the guard alone.
var rules = map[string]func([]*syntax.Word) bool{
	"suspend": func([]*syntax.Word) bool { return false },
	"exec":    func(a []*syntax.Word) bool { return len(a) == 0 },
	"enable":  func(a []*syntax.Word) bool { return len(a) == 0 },
	"trap":    trapRule,
	"set":     setRule,
	"shopt":   shoptRule,
	"history": func(a []*syntax.Word) bool {
		return none(a, func(s string) bool { return strings.HasPrefix(s, "-") && strings.ContainsAny(s, "cdp") })
	},
}

// none is true when all are literal and bad of none.
func none(args []*syntax.Word, bad func(string) bool) bool {
	for _, a := range args {
		if s, ok := literal(a); !ok || bad(s) {
			return false
		}
	}
	return true
}

// trapRule lets signals be ignored and reset. A handler is refused whatever it does: it may run while the
// guard itself runs in the shell, and then nothing of it is asked.
func trapRule(args []*syntax.Word) bool {
	if len(args) > 0 {
		s, ok := literal(args[0])
		switch {
		case !ok:
			return false
		case s == "-l" || s == "-p" || s == "-lp":
			return none(args[1:], func(string) bool { return false })
		case s == "--":
			return trapRule(args[1:])
		case len(args) > 1 && (s == "" || s == "-"):
			args = args[1:]
		case len(args) > 1 || strings.HasPrefix(s, "-"):
			return false
		}
	}
	return none(args, func(s string) bool {
		s = strings.TrimPrefix(strings.ToUpper(s), "SIG")
		return s == "DEBUG" || s == "RETURN" || s == "ERR"
	})
}

func setRule(args []*syntax.Word) bool {
	for i := 0; i < len(args); i++ {
		s, ok := literal(args[i])
		switch {
		case !ok:
			return false
		case s == "--" || s == "-" || (!strings.HasPrefix(s, "-") && !strings.HasPrefix(s, "+")):
			return true // the rest are positional parameters
		case strings.HasPrefix(s, "+") && strings.Contains(s, "T"), strings.ContainsAny(s[1:], "nrt"):
			return false
		case strings.Contains(s, "o"):
			if i++; i < len(args) {
				o, ok := literal(args[i])
				if !ok || o == "functrace" || o == "posix" || o == "history" || o == "noexec" || o == "onecmd" {
					return false
				}
			}
		}
	}
	return true
}

func shoptRule(args []*syntax.Word) bool {
	return none(args, func(s string) bool {
		switch s {
		case "extdebug", "localvar_inherit", "cmdhist", "lithist", "functrace", "posix", "history", "noexec", "onecmd", "restricted_shell":
			return true
		}
		return false
	})
}

// literal is the word after quotes are taken away; false when it has anything the shell works out.
func literal(w *syntax.Word) (string, bool) {
	var b strings.Builder
	for _, part := range w.Parts {
		switch p := part.(type) {
		case *syntax.Lit:
			if strings.ContainsAny(p.Value, "*?[~{") {
				return "", false
			}
			b.WriteString(unescape(p.Value))
		case *syntax.SglQuoted:
			if p.Dollar {
				return "", false
			}
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			for _, q := range p.Parts {
				lit, ok := q.(*syntax.Lit)
				if !ok || p.Dollar {
					return "", false
				}
				b.WriteString(unescape(lit.Value))
			}
		default:
			return "", false
		}
	}
	return b.String(), true
}

// unescape takes backslashes away. Where bash would keep one, the word only looks more like a builtin.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
			if s[i] == '\n' {
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// hasSlash tells whether the word names a path, whatever is put into it.
func hasSlash(w *syntax.Word) bool {
	found := false
	syntax.Walk(w, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.CmdSubst, *syntax.ParamExp, *syntax.ArithmExp, *syntax.ProcSubst:
			return false
		case *syntax.Lit:
			found = found || strings.Contains(n.Value, "/")
		case *syntax.SglQuoted:
			found = found || strings.Contains(n.Value, "/")
		}
		return true
	})
	return found
}

// lineFacts is what the guard needs to know of a line.
type lineFacts struct {
	needsAsk     bool // it does more than its simple commands
	startsSimple bool // it begins with a simple command
}

// readLine looks for redirections of compound commands and definitions of functions. What it cannot
// parse is asked as a whole.
func readLine(text string) lineFacts {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		return lineFacts{needsAsk: true}
	}
	var f lineFacts
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.FuncDecl:
			f.needsAsk = true
		case *syntax.Stmt:
			if _, simple := n.Cmd.(*syntax.CallExpr); !simple && n.Cmd != nil && len(n.Redirs) > 0 {
				f.needsAsk = true
			}
		}
		return true
	})
	if len(file.Stmts) > 0 {
		call, simple := file.Stmts[0].Cmd.(*syntax.CallExpr)
		f.startsSimple = simple && len(call.Args) > 0 && !file.Stmts[0].Background
	}
	return f
}
