package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-ssh/sallyport/shells"
)

func newZsh(t testing.TB) *Local {
	t.Helper()
	l := newLocal(t, Config{Shell: []string{"/usr/bin/zsh"}})
	if l.Guard() != "hook" || l.PipeGuard() != "hook" {
		t.Fatalf("Guard() = %q, PipeGuard() = %q", l.Guard(), l.PipeGuard())
	}
	return l
}

// TestZshAsked: what zsh runs is asked, as it is after aliases, history and completion.
func TestZshAsked(t *testing.T) {
	l := newZsh(t)
	a := &asker{}
	s := openScreen(t, l, a)
	big := strings.Repeat("x", 8_000) // more than is written at once
	for _, tt := range []struct {
		keys string
		want []string // in any order where processes run beside each other
	}{
		{"ls /", []string{"ls /"}},
		{"echo a; echo b && echo c || echo d", []string{"echo a", "echo b && echo c || echo d"}},
		{"echo one | cat | tr a b", []string{"echo one | cat | tr a b"}},
		{"for i in 1 2; do echo $i; done", []string{"echo $i", "echo $i"}},
		{"for i in 1 2; echo $i", []string{"echo $i", "echo $i"}},
		{"if true; then echo t; fi", []string{"true", "echo t"}},
		{"(cd /tmp; pwd)", []string{"cd /tmp", "pwd"}},
		{"{ echo x }", []string{"echo x"}},
		{"echo $(id -u) `id -g`", []string{"echo $(id -u) `id -g`", "id -u", "id -g"}},
		{"cat <(echo sub)", []string{"cat <(echo sub)", "echo sub"}},
		{"cat =(echo sub)", []string{"cat =(echo sub)", "echo sub"}},
		{"cat <<E\nhello $(id -u)\nE", []string{"cat <<E\nhello $(id -u)\nE", "id -u"}},
		{"cat <<< here", []string{"cat <<< here"}},
		{"echo \"multi\nline\"", []string{"echo \"multi\nline\""}},
		{"echo back\\\nslash", []string{"echo backslash"}},
		{"echo a # b", []string{"echo a"}},
		{"f() { echo in f; true | cat }", []string{"f () {\n\techo in f\n\ttrue | cat\n}"}},
		{"f", []string{"f", "echo in f", "true | cat"}},
		{"() { echo anon }", []string{"echo anon"}},
		{"{ echo x } > /tmp/out", []string{"{\n\techo x\n} > /tmp/out", "echo x"}},
		{"echo x | while read l; do echo $l; done", []string{"echo x | while read l\ndo\n\techo $l\ndone", "read l", "echo $l", "read l"}},
		{"x=5 y=6", []string{"x=5 y=6 "}},
		{"x=5 env > /dev/null", []string{"x=5 env > /dev/null"}},
		{"eval 'echo $x; echo two'", []string{"eval 'echo $x; echo two'", "echo $x", "echo two"}},
		{"alias q='echo hi;'", []string{"alias q='echo hi;'"}},
		{"q echo ho", []string{"echo hi", "echo ho"}},
		{"alias -g G='| cat'", []string{"alias -g G='| cat'"}},
		{"echo x G", []string{"echo x | cat"}},
		{"alias -s txt='echo file'", []string{"alias -s txt='echo file'"}},
		{"a.txt", []string{"echo file a.txt"}},
		{"\\echo quoted", []string{"\\echo quoted"}},
		{"echo typo\x7f\x7f\x7f\x7fright", []string{"echo right"}},
		{"\x10\x01\x0bls /tmp", []string{"ls /tmp"}}, // Ctrl-P, Ctrl-A, Ctrl-K
		{"echo !echo:0", []string{"echo echo"}},
		{"\x12right\x05 now", []string{"echo right now"}}, // Ctrl-R, Ctrl-E
		{"\x1b[200~echo p1\necho p2\x1b[201~", []string{"echo p1", "echo p2"}},
		{"ls /us\t", []string{"ls /usr"}},
		{"echo bg &", []string{"echo bg"}},
		{"wait", []string{"wait"}},
		{"[[ -e /tmp ]] && ((1)) && echo yes", []string{"[[ -e /tmp ]] && ((1)) && echo yes"}},
		{"case x in x) echo matched;; esac", []string{"echo matched"}},
		{"w() { echo widget >/dev/null }; zle -N w; bindkey '^T' w", []string{"w () {\n\techo widget > /dev/null\n}", "zle -N w", "bindkey '^T' w"}},
		{"\x14:", []string{"echo widget > /dev/null", ":"}},
		{"setopt promptsubst; PS1='$(echo ps1)$ '", []string{"setopt promptsubst", "PS1='$(echo ps1)$ ' ", "echo ps1", "echo ps1"}},
		{"PS1='$ '", []string{"PS1='$ ' "}},
		{"y='$(echo inner)'; echo ${(e)y}", []string{"y='$(echo inner)' ", "echo ${(e)y}", "echo inner"}},
		{"echo /tm*(e:'echo glob >/dev/null':)", []string{"echo /tm*(e:'echo glob >/dev/null':)", "echo glob > /dev/null"}},
		{"chpwd() { echo moved }; cd /tmp; unfunction chpwd", []string{"chpwd () {\n\techo moved\n}", "cd /tmp", "echo moved", "unfunction chpwd"}},
		{"precmd_functions=(pf); pf() { echo pf >/dev/null }", []string{"precmd_functions=(pf) ", "pf () {\n\techo pf > /dev/null\n}", "echo pf > /dev/null", "echo pf > /dev/null"}},
		{"precmd_functions=()", []string{"precmd_functions=() "}},
		{"functions mf; mf() { echo math >/dev/null; ((1)) }", []string{"functions mf", "mf () {\n\techo math > /dev/null\n\t((1))\n}"}},
		{"zsh -c 'echo inside'", []string{"zsh -c 'echo inside'"}}, // an interpreter: for the policy
		{"echo ü", []string{"echo ü"}},
		{"echo " + big + " | wc -c", []string{"echo " + big + " | wc -c"}},
		{"echo $'a\\tb' \"c\\\"d\" 'e'\\''f' \\$g", []string{"echo $'a\\tb' \"c\\\"d\" 'e'\\''f' \\$g"}},
	} {
		got := a.between(func() { s.line(tt.keys) })
		got = slices.DeleteFunc(got, func(c string) bool { return strings.HasPrefix(c, "echo ma''rk") })
		slices.Sort(got)
		slices.Sort(tt.want)
		if !slices.Equal(got, tt.want) {
			t.Errorf("keys %.80q\nasked %.200q\nwant  %.200q", tt.keys, got, tt.want)
		}
	}
}

// TestZshRefused: what is refused does not run, nor what follows it on its line.
func TestZshRefused(t *testing.T) {
	l := newZsh(t)
	s := openScreen(t, l, &asker{no: "bad"})
	for _, k := range []string{
		"bad", "bad; echo LEA''KED", "echo LEA''KED$(b''ad; bad)", "true && bad || echo LEA''KED", "for i in 1 2; do bad; echo LEA''KED; done",
		"(bad); echo LEA''KED", "{ echo LEA''KED } > /tmp/bad", "g() { bad }", "eval 'b''ad; bad'; echo LEA''KED", "cat <(bad); echo LEA''KED",
		"cat =(bad) && echo LEA''KED", "b=ad; eval b$b; echo LEA''KED", "{ eval b''ad } always { echo LEA''KED }", "echo x | bad | cat; echo LEA''KED",
		"echo *(e:bad:); echo LEA''KED", "repeat 2 bad; echo LEA''KED", "coproc bad; echo LEA''KED", "echo LEA''KED${(e):-\\$(ba''d; bad)}",
		"x() { echo $(bad) }; x; echo LEA''KED", "if bad; then :; else echo LEA''KED; fi", "setopt errexit; bad; echo LEA''KED", "unsetopt errexit; bad; echo LEA''KED",
		"noglob bad; echo LEA''KED", "- bad; echo LEA''KED", "time bad; echo LEA''KED", "! bad; echo LEA''KED",
	} {
		if got := s.line(k); strings.Contains(got, "\nLEAKED") || strings.Contains(got, "\rLEAKED") {
			t.Errorf("%q let more run: %q", k, got)
		} else if strings.Count(got, "refused") < 1 {
			t.Errorf("%q: no refusal in %q", k, got)
		}
	}
	if strings.Contains(s.line("ls /tmp"), "bad") {
		t.Error("the redirection of a refused line was made")
	}
}

// TestZshStands: what would put the guard out is refused, or stays without effect.
func TestZshStands(t *testing.T) {
	l := newZsh(t)
	for _, k := range []string{
		"trap - DEBUG", "trap '' DEBUG", "trap", "trap 'bad' USR1; kill -USR1 $$", "trap bad EXIT", "trap bad ZERR; false", "trap '' INT",
		"TRAPDEBUG() { : }", "TRAPUSR1() { ba''d }; kill -USR1 $$", "function TRAPZERR { ba''d }; false", "function x TRAPZERR { ba''d }; false", "TRAPEXIT() { ba''d }",
		"n=TRAPZERR; function $n { ba''d }; false", "function TRAP[Z]ERR { ba''d }", "autoload TRAPZERR", "t=TRAPZERR; autoload $t",
		"functions[TRAPZERR]=ba'd'; false", "dis_functions[x]=y", "functions -c f TRAPZERR", "x='functions[TRAPZERR]'; : ${(P)x::=bad}",
		"t=trap; $t - DEBUG", "\"$t\" - DEBUG", "b=builtin; $b trap - DEBUG", "builtin trap - DEBUG", "command trap - DEBUG", "noglob trap - DEBUG", "- trap - DEBUG",
		"tr\"\"ap - DEBUG", "\\trap - DE\\BUG", "$'trap' - DEBUG", "eval 'trap - DEBUG'", "alias u='trap - DEBUG'\nu", "alias -g V='; trap - DEBUG'\n: V",
		"f() { trap - DEBUG }; f", "(trap - DEBUG; ba''d)", "echo $(trap - DEBUG; ba''d)", "true && trap - DEBUG", "echo | trap - DEBUG", "{ trap - DEBUG } always { : }",
		"unsetopt debugbeforecmd", "setopt no_debug_before_cmd", "set +o debugbeforecmd", "options[debugbeforecmd]=off", "setopt DEBUG_BEFORE_CMD xtrace", "set -x", "setopt xtrace", "setopt rcquotes",
		"unsetopt interactivecomments", "o=xtrace; setopt $o", "setopt -m '*'", "setopt cshjunkiequotes", "setopt ignorebraces", "setopt posixbuiltins posixtraps",
		"emulate sh", "emulate -R ksh", "emulate sh -c 'x() { bad }'", "f() { emulate -L zsh; setopt xtrace }; f", "e=emulate; $e sh",
		"typeset -ft precmd", "functions -T precmd", "functions -t x", "typeset -fu TRAPZERR", "typeset -r ZSH_DEBUG_CMD=ls", "z=ZSH_DEBUG_; typeset -r ${z}CMD=ls",
		"z=ZSH_DEBUG_; typeset -i ${z}CMD=5", "z=ZSH_DEBUG_; integer ${z}CMD=5", "z=ZSH_DEBUG_; typeset -L 2 ${z}CMD", "z='ZSH_DEBUG_'; y=\"${z}CMD=5\"; ((y))",
		"exec ls", "exec zsh -f", "exec 9>&-", "exec 9<>/tmp/f", "exec {fd}>/tmp/f", "sysopen -r -u 9 /dev/null", "sysread -i 9 x", "syswrite -o 9 x", "print -u9 x", "read -u 9 x", "echo >&9", "n=9; echo >&$n",
		"disable trap", "disable -r '[['", "disable sysread", "disable print", "enable print", "unfunction precmd preexec", "unfunction -m '*'", "unset -f precmd", "unset -m 'SALLY*'", "unhash -f precmd", "u=unfunction; $u precmd",
		"unfunction __sallyport_guard", "__sallyport_guard() { : }", "precmd() { : }", "preexec() { : }", "sysread() { : }", "print() { : }", "builtin() { : }", "function kill setopt { : }",
		"local() { : }", "emulate() { : }", "zmodload zsh/parameter", "zmodload -i zsh/zpty", "module_path=(/usr/lib/x86_64-linux-gnu/zsh/5.9); echo $functions[x]", "source __sallyport_prompt",
		"cd /tmp; print -r 'bad' > __sally; ln -s __sally __sallyport_prompt", "x=__sally; source ${x}port_prompt", "SALLYPORT_GUARD=/dev/null", "PS4='$(bad)'", "PS4='$(bad)' : x",
		"IFS=0123456789abcdefny", "unset IFS", "LC_ALL=xx", "ulimit -n 60", "TMOUT=1", "unset TMOUT", "PROMPT4='$(bad)'", "setopt promptsubst; psvar=x",
		"> /tmp/f", "READNULLCMD=sh; < /etc/passwd", "NULLCMD='sh'; > /tmp/f", "hash ls=/bin/sh", "hash -d x=/tmp", "suspend", "fc -e : -1", "r", "sched +1 bad", "zpty x zsh", "ztcp localhost 1",
		"zle -N zle-line-init x", "zle -F 9 x", "compctl -K x y", "zstyle -e ':x' y 'bad'; zstyle -s :x y z", "command_not_found_handler() { : }; nosuch", "kill -INT $$", "set -euo pipefail", "set -eu",
		"setopt errexit", "setopt errreturn", "setopt localoptions localtraps", "setopt autocd; /tmp", "HISTSIZE=0", "cd /proc/self/fd", "ttyctl -f", "limit",
	} {
		a := &asker{no: "bad"}
		s := openScreen(t, l, a)
		got := s.line(k)
		if strings.Contains(got, "not found: bad") {
			t.Errorf("%q ran unasked: %q", k, got)
		}
		if got := a.between(func() { s.line("id -u > /dev/null; bad") }); !slices.Contains(got, "id -u > /dev/null") || !slices.Contains(got, "bad") {
			t.Errorf("after %q asked only %q; shown %q", k, got, s.text())
		}
		s.p.Close()
	}
}

// TestZshGone: a shell whose guard is out of action is ended with a clear word.
func TestZshGone(t *testing.T) {
	l := newZsh(t)
	const trap, opts = "trap -- 'setopt ERR_EXIT && __sallyport_guard \"${(%):-%N}\" && unsetopt ERR_EXIT' DEBUG\n", "noglobalrcs\ninteractive\ninteractivecomments\n"
	for _, tt := range []struct{ opts, trap, want string }{
		{opts, "", "its trap is gone"},
		{opts, trap + "trap -- bad USR1\n", "its trap is gone"},
		{opts, trap + "TRAPUSR1 () {\n\tbad\n}\n", "its trap is gone"},
		{opts + "nodebugbeforecmd\n", trap, "option was changed: nodebugbeforecmd"},
		{opts + "xtrace\n", trap, "option was changed: xtrace"},
		{"interactive\n", trap, "switched off"},
		{"interactive             on\n", trap, "option was changed"},
	} {
		s := openScreen(t, l, &asker{})
		g := s.p.(*terminal).guard
		g.handle(t.Context(), g.p.pid, []string{"P", tt.opts, tt.trap})
		<-s.end
		if _, err := s.p.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Wait = %v, want %q", err, tt.want)
		}
	}
	s := openScreen(t, l, &asker{})
	g := s.p.(*terminal).guard
	g.ZshLine("rm -rf /srv")
	g.handle(t.Context(), g.p.pid, []string{"P", opts, trap})
	if _, err := s.p.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "ran unasked") {
		t.Errorf("Wait = %v", err)
	}
}

// TestZshWithdrawn: Ctrl-C while a command is held takes the question back and gives the prompt; nothing of it runs.
func TestZshWithdrawn(t *testing.T) {
	l := newZsh(t)
	for _, k := range []string{"held now", "echo x | held now", "(held now)", "echo LEA''KED $(: ; eval 'held 'now)", "f() { eval 'held 'now }; f; echo LEA''KED", "{ : }; eval 'held 'now; echo LEA''KED"} {
		a := &asker{hold: "held now", held: make(chan struct{}), ended: make(chan error, 9)}
		s := openScreen(t, l, a)
		s.keys(k + "\n")
		<-a.held
		s.keys("\x03")
		if err := <-a.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%q: the question ended with %v", k, err)
		}
		if got := s.line("echo back"); !strings.Contains(got, "back") || strings.Contains(got, "\nLEAKED") || strings.Contains(got, "not found: held") {
			t.Errorf("%q: %q", k, got)
		}
		s.p.Close()
	}
}

// TestZshScriptOnInput: a zsh without a terminal asks too, and ends at a refusal.
func TestZshScriptOnInput(t *testing.T) {
	l := newZsh(t)
	a := &asker{no: "bad"}
	got := run(t, l, shells.Request{Kind: shells.Shell, Ask: a}, strings.NewReader("echo one\nx=$(echo two)\nbad\necho LEAKED\n"))
	if got.out != "one\n" || !strings.Contains(got.err, "refused by a test") || got.exit.Status != 77 {
		t.Errorf("got %+v", got)
	}
	if want := []string{"echo one", "x=$(echo two) ", "echo two", "bad"}; !slices.Equal(a.commands(), want) {
		t.Errorf("asked %q", a.commands())
	}
}

// TestZshThief: a program that inherited the descriptor cannot make the shell run what was refused.
func TestZshThief(t *testing.T) {
	s := openScreen(t, newZsh(t), &asker{no: "bad"})
	s.line(`perl -e 'open(F, "+<&=9"); syswrite(F, "A" . "0" x 16 . "\x{0}1\x{0}/\x{0}ls\x{0}"); sleep 1'`)
	s.keys("bad; echo LEA''KED\n")
	s.wait("refused by a test: bad")
	if got := s.line(":"); strings.Contains(got, "\nLEAKED") {
		t.Errorf("ran: %q", got)
	}
}

// TestZshPipelines: many processes ask over one socket, and each gets its own answer.
func TestZshPipelines(t *testing.T) {
	a := &asker{no: "bad"}
	s := openScreen(t, newZsh(t), a)
	n := len(a.between(func() { s.line("for i in {1..20}; do (echo $i | cat; echo x | cat) >/dev/null & done; wait") }))
	if want := 20*3 + 2; n != want {
		t.Errorf("%d questions, want %d", n, want)
	}
}

func BenchmarkZshAsk(b *testing.B) {
	a := &asker{}
	s := openScreen(b, newZsh(b), a)
	b.ResetTimer()
	n := len(a.between(func() {
		s.line(fmt.Sprintf("for i in {1..%d}; do %s done", b.N/100+1, strings.Repeat(":;", 100)))
	}))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/ask")
}
