package hook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"github.com/sallyport-ssh/sallyport/shells"
)

// zsh asks before each sublist, as it calls what stands between two semicolons: the commands of a pipeline, and those
// joined by && and ||, in one question, with the text that it is about to run. What a compound command holds is asked
// once more when it runs.

// ZshLine is told what was typed, after history and aliases. Nothing has run of it yet.
func (s *Shell) ZshLine(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line = line{number: "zsh", text: text, expect: true}
	s.refused = false
	s.Typed.Store(false)
}

// zshCommand decides on one sublist.
func (s *Shell) zshCommand(ctx context.Context, cwd, line, text string) error {
	runs, err := checkZsh(text)
	if err != nil || !runs {
		return err
	}
	return s.put(ctx, shells.Asked{Command: text, Cwd: cwd, Line: line})
}

// zshPrompt looks at a report of a prompt: the options that are not as zsh has them, and what `trap` says.
func zshPrompt(opts, trap string) error {
	if strings.TrimSpace(trap) != zshTrap {
		return &TamperError{"its trap is gone"}
	}
	for _, o := range strings.Fields(opts) {
		if name := optionName(o); !zshStands[name] && !zshOptions[name] {
			return &TamperError{"an option was changed: " + OneLine(o, 30)}
		}
	}
	if !strings.Contains("\n"+opts+"\n", "\ninteractivecomments\n") {
		return &TamperError{"it was switched off"}
	}
	return nil
}

// zshTrap is what a guarded zsh says of its traps.
const zshTrap = `trap -- 'setopt ERR_EXIT && __sallyport_guard "${(%):-%N}" && unsetopt ERR_EXIT' DEBUG`

var errZshRead = errors.New("refused: the guard cannot read this command as zsh does; write it more plainly")

// checkZsh refuses what would put the guard of a zsh out of action, whatever the policy says, and tells whether the
// text runs something itself. What only holds commands, as a loop does, runs nothing: they are asked when they run.
func checkZsh(text string) (runs bool, err error) {
	plain := quoting.Replace(text)
	if strings.Contains(plain, "__sallyport") || strings.Contains(plain, "ZSH_DEBUG_CMD") || strings.Contains(plain, "SALLYPORT_GUARD") {
		return false, fmt.Errorf("refused: the names of the shell's guard are not for commands")
	}
	// A comment was taken away when zsh read the line. Where the grammar sees one, it sees less than runs.
	p := syntax.NewParser(syntax.Variant(syntax.LangZsh), syntax.KeepComments(true))
	file, perr := p.Parse(strings.NewReader(text), "")
	if perr != nil || len(file.Stmts) != 1 {
		return false, errZshRead
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		if err == nil {
			err = checkZshNode(n)
		}
		return err == nil
	})
	return zshRuns(file.Stmts[0]), err
}

// zshRuns tells whether s runs more than the lists it holds.
func zshRuns(s *syntax.Stmt) bool {
	if len(s.Redirs) > 0 {
		return true
	}
	switch c := s.Cmd.(type) {
	case *syntax.BinaryCmd:
		return zshRuns(c.X) || zshRuns(c.Y)
	case *syntax.TimeClause:
		return c.Stmt == nil || zshRuns(c.Stmt)
	case *syntax.CoprocClause:
		return zshRuns(c.Stmt)
	case *syntax.FuncDecl:
		return !anonymous(c)
	case *syntax.Block, *syntax.Subshell, *syntax.IfClause, *syntax.WhileClause, *syntax.ForClause, *syntax.CaseClause,
		*syntax.TestClause, *syntax.ArithmCmd:
		return false
	}
	return true
}

func anonymous(f *syntax.FuncDecl) bool { return f.Name == nil && len(f.Names) == 0 }

func checkZshNode(n syntax.Node) error {
	switch n := n.(type) {
	case *syntax.Comment:
		return errZshRead
	case *syntax.Redirect:
		if touchesGuard(n) {
			return fmt.Errorf("refused: descriptor %d belongs to the shell's guard", Descriptor)
		}
	case *syntax.Stmt:
		call, simple := n.Cmd.(*syntax.CallExpr)
		if len(n.Redirs) > 0 && (n.Cmd == nil || simple && len(call.Args) == 0) {
			return fmt.Errorf("refused: where no command is written zsh runs one of its own for a redirection; write cat < file or : > file")
		}
	case *syntax.CallExpr:
		return checkZshWords(n.Args)
	case *syntax.DeclClause:
		return checkZshDecl(n)
	case *syntax.FuncDecl:
		return checkZshFunc(n)
	}
	return nil
}

// checkZshFunc refuses a function that would stand before what the guard uses, or be called when it is not asked: zsh
// runs TRAP... without asking.
func checkZshFunc(f *syntax.FuncDecl) error {
	names := f.Names
	if f.Name != nil {
		names = append(slices.Clone(names), f.Name)
	}
	for _, name := range names {
		if strings.ContainsAny(name.Value, "$`'\"\\*?[~{=^#<(|") || !mayDefine(name.Value) {
			return fmt.Errorf("refused: a function of the name %s would put the shell's guard out of action", OneLine(name.Value, 40))
		}
	}
	return nil
}

// mayDefine tells whether a function may have name.
func mayDefine(name string) bool {
	return !strings.HasPrefix(name, "TRAP") && name != "precmd" && name != "preexec" && !zshBuiltins[name]
}

// checkZshDecl looks at typeset and its like: with -f they are about functions.
func checkZshDecl(d *syntax.DeclClause) error {
	var words []*syntax.Word
	for _, a := range d.Args {
		if a.Naked && a.Name == nil {
			words = append(words, a.Value)
		}
	}
	if !zshPlain(words, "f") {
		return fmt.Errorf("refused: this use of %s would put the shell's guard out of action", d.Variant.Value)
	}
	return nil
}

// zshPlain is true when no word is, or could be, an option with one of letters.
func zshPlain(args []*syntax.Word, letters string) bool {
	for _, a := range args {
		s, ok := literal(a)
		switch {
		case !ok:
			if mayBeOption(a) {
				return false
			}
		case len(s) > 1 && (s[0] == '-' || s[0] == '+') && strings.ContainsAny(s, letters):
			return false
		}
	}
	return true
}

// mayBeOption tells whether a word that is not literal may begin with a dash or a plus.
func mayBeOption(w *syntax.Word) bool {
	if len(w.Parts) == 0 {
		return true
	}
	switch p := w.Parts[0].(type) {
	case *syntax.Lit:
		return strings.ContainsAny(p.Value[:1], "-+*?[{(<^#=\\")
	case *syntax.SglQuoted:
		return p.Dollar || p.Value == "" || strings.ContainsAny(p.Value[:1], "-+")
	}
	return true
}

// checkZshWords looks at a simple command.
func checkZshWords(args []*syntax.Word) error {
	for len(args) > 0 {
		name, ok := literal(args[0])
		if !ok || strings.HasPrefix(name, "=") {
			if hasSlash(args[0]) || ok {
				return nil // a path: no builtin
			}
			return fmt.Errorf("refused: in a guarded shell the name of a command must be written out")
		}
		args = args[1:]
		switch name {
		case "-", "noglob", "nocorrect", "coproc":
			continue
		case "builtin", "command":
			for len(args) > 0 {
				if s, ok := literal(args[0]); !ok || !strings.HasPrefix(s, "-") || s == "-" {
					break
				}
				args = args[1:]
			}
			continue
		}
		if rule := zshRules[name]; rule != nil && !rule(args) {
			return fmt.Errorf("refused: this use of %s would put the shell's guard out of action", OneLine(name, 40))
		}
		return nil
	}
	return nil
}

// zshRules say which arguments of a builtin leave the guard alone.
var zshRules = map[string]func([]*syntax.Word) bool{
	"suspend": never, "emulate": emulateRule, "trap": noArgs, "disable": noArgs, "enable": noArgs, "zmodload": noArgs, "exec": noArgs,
	"sysopen": never, "sysread": never, "syswrite": never, "sysseek": never, "zsystem": never, "ztcp": never, "zsocket": never,
	"setopt": optionsRule, "unsetopt": optionsRule, "set": zshSetRule,
	"functions": func(a []*syntax.Word) bool { return zshPlain(a, zshLetters) },
	"unhash":    func(a []*syntax.Word) bool { return zshPlain(a, zshLetters) },
	"hash":      hashRule,
	"unfunction": func(a []*syntax.Word) bool {
		return none(a, func(s string) bool { return strings.HasPrefix(s, "-") || !mayDefine(s) })
	},
	"autoload": func(a []*syntax.Word) bool {
		return none(a, func(s string) bool {
			return strings.HasPrefix(s, "-") && strings.ContainsAny(s, "tTwWXm") || strings.HasPrefix(s, "+") || !mayDefine(s) || strings.Contains(s, "/")
		})
	},
	"unset":   unsetRule,
	"integer": func(a []*syntax.Word) bool { return zshPlain(a, "f") }, "float": func(a []*syntax.Word) bool { return zshPlain(a, "f") },
	"source": sourceRule, ".": sourceRule,
	"fc": func(a []*syntax.Word) bool {
		if len(a) == 0 {
			return false
		}
		s, ok := literal(a[0])
		return ok && strings.HasPrefix(s, "-l")
	},
	"print": descriptorRule, "read": descriptorRule, "printf": descriptorRule,
}

// zshLetters are all that may stand after a dash.
const zshLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func never([]*syntax.Word) bool { return false }

func noArgs(a []*syntax.Word) bool { return len(a) == 0 }

// emulateRule lets a function do what most functions do first.
func emulateRule(a []*syntax.Word) bool {
	if len(a) == 0 {
		return true
	}
	if len(a) != 2 {
		return false
	}
	flag, ok1 := literal(a[0])
	name, ok2 := literal(a[1])
	return ok1 && ok2 && flag == "-L" && name == "zsh"
}

// sourceRule: the guard knows its own functions by what zsh says is running, and that may be a file's name.
func sourceRule(a []*syntax.Word) bool {
	return len(a) == 0 || none(a[:1], func(string) bool { return false })
}

func hashRule(a []*syntax.Word) bool {
	if len(a) == 0 {
		return true
	}
	s, ok := literal(a[0])
	return ok && (s == "-d" || s == "-r" && len(a) == 1) && zshPlain(a[1:], zshLetters)
}

func unsetRule(a []*syntax.Word) bool {
	functions := false
	for _, w := range a {
		s, ok := literal(w)
		switch {
		case !ok:
			if functions || mayBeOption(w) {
				return false
			}
		case strings.HasPrefix(s, "-"):
			functions = functions || strings.Contains(s, "f")
			if strings.Contains(s, "m") {
				return false
			}
		case functions && !mayDefine(s):
			return false
		}
	}
	return true
}

// descriptorRule is for builtins that take a descriptor with -u.
func descriptorRule(a []*syntax.Word) bool {
	for i, w := range a {
		s, ok := literal(w)
		if !ok || !strings.HasPrefix(s, "-") || !strings.Contains(s, "u") {
			continue
		}
		_, n, _ := strings.Cut(s, "u")
		if n == "" {
			if i+1 >= len(a) {
				continue
			}
			if n, ok = literal(a[i+1]); !ok {
				return false
			}
		}
		if strings.Trim(n, "123456780") != "" || strings.TrimLeft(n, "0") == "9" {
			return false
		}
	}
	return true
}

func optionsRule(args []*syntax.Word) bool {
	return none(args, func(s string) bool { return !zshOptions[optionName(s)] })
}

func zshSetRule(args []*syntax.Word) bool {
	for i := 0; i < len(args); i++ {
		s, ok := literal(args[i])
		switch {
		case !ok:
			return !mayBeOption(args[i])
		case s == "--" || s == "-" || !strings.HasPrefix(s, "-") && !strings.HasPrefix(s, "+"):
			return true
		case s == "-o" || s == "+o":
			if i++; i >= len(args) {
				return true
			}
			if o, ok := literal(args[i]); !ok || !zshOptions[optionName(o)] {
				return false
			}
		case strings.Trim(s[1:], "eu") != "":
			return false
		}
	}
	return true
}

// optionName is how zsh compares the names of options.
func optionName(s string) string {
	s = strings.ToLower(strings.ReplaceAll(s, "_", ""))
	if s == "notify" || s == "nomatch" {
		return s
	}
	return strings.TrimPrefix(s, "no")
}

func setOf(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// zshOptions may be changed: they do not change what a text means or whether it is asked. None is as zsh starts out
// with for the guard's own sake.
var zshOptions = setOf(`autocd autolist automenu autonamedirs autoparamkeys autoparamslash autopushd autoremoveslash
	autoresume bashautolist beep bgnice braceccl casesglob checkjobs checkrunningjobs clobber completealiases completeinword
	correct correctall dotglob errexit errreturn extendedglob extendedhistory flowcontrol globcomplete globdots globstarshort
	hashcmds hashdirs hashlistall histappend histbeep histexpiredupsfirst histfindnodups histignorealldups histignoredups
	histignorespace histnofunctions histnostore histreduceblanks histsavenodups histverify hup ignoreeof listambiguous
	listbeep listpacked listrowsfirst listtypes localoptions localpatterns localtraps longlistjobs markdirs menucomplete
	monitor nomatch notify nullglob numericglobsort printeightbit printexitvalue promptcr promptpercent promptsp promptsubst
	pushdignoredups pushdminus pushdsilent pushdtohome recexact rmstarsilent rmstarwait sharehistory sunkeyboardhack
	transientrprompt unset warncreateglobal`)

// zshStands are options that a guarded zsh reports as it was started.
var zshStands = setOf(`globalrcs interactive interactivecomments rcs shinstdin zle login restricted`)

// zshBuiltins may not be the names of functions: a function stands before the builtin, and the guard uses some.
var zshBuiltins = setOf(`- . : [ alias autoload bg bindkey break builtin bye cd chdir command compadd compctl continue
	declare dirs disable disown echo echotc echoti emulate enable eval exec exit export false fc fg float functions getln
	getopts hash history integer jobs kill let limit local log logout noglob nocorrect popd print printf private pushd pushln
	pwd r read readonly rehash return sched set setopt shift source suspend syserror sysopen sysread sysseek syswrite test
	times trap true ttyctl type typeset ulimit umask unalias unfunction unhash unlimit unset unsetopt vared wait whence where
	which zcompile zformat zle zmodload zparseopts zregexparse zstyle zsystem ztcp zsocket`)
