package remote

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-ssh/sallyport/shells"
)

// zshHost lets sshd start zsh as it starts the login shell of a user who has zsh.
var zshHost = []string{"AllowTcpForwarding yes", `ForceCommand exec zsh -c "$SSH_ORIGINAL_COMMAND"`}

// openZsh opens a terminal whose prompt cannot be taken for the mark that zsh puts behind a line without an end.
func openZsh(t testing.TB, r *Remote, ask shells.Asker) *terminal {
	t.Helper()
	s := openTerminal(t, r, ask)
	s.line("unsetopt promptsp")
	return s
}

// TestZshHook: what runs in a zsh on the host is asked, and its user notices nothing of how.
func TestZshHook(t *testing.T) {
	r := newHost(t, zshHost...).target(t)
	a := &asker{}
	s := openZsh(t, r, a)
	if got := level(s.p); got != "hook" || r.Guard() != "hook" {
		t.Fatalf("guard %q, of the target %q", got, r.Guard())
	}
	big := strings.Repeat("x", 8_000)
	for _, tt := range []struct {
		keys string
		want []string
	}{
		{"print -r -- $ZSH_NAME", []string{"print -r -- $ZSH_NAME"}},
		{"echo a; echo b && echo c || echo d", []string{"echo a", "echo b && echo c || echo d"}},
		{"for i in 1 2; do echo $i; done", []string{"echo $i", "echo $i"}},
		{"echo $(id -u) `id -g`", []string{"echo $(id -u) `id -g`", "id -u", "id -g"}},
		{"cat <(echo sub)", []string{"cat <(echo sub)", "echo sub"}},
		{"f() { echo in f }", []string{"f () {\n\techo in f\n}"}},
		{"f; f", []string{"f", "echo in f", "f", "echo in f"}},
		{"eval 'echo 1; echo 2'", []string{"eval 'echo 1; echo 2'", "echo 1", "echo 2"}},
		{"alias q='echo hi;'", []string{"alias q='echo hi;'"}},
		{"q echo ho", []string{"echo hi", "echo ho"}},
		{"\x10\x01\x0bls /tmp", []string{"ls /tmp"}},
		{"echo $ZDOTDIR.", []string{"echo $ZDOTDIR."}},
		{"echo bg &", []string{"echo bg"}},
		{"wait", []string{"wait"}},
		{"echo " + big + " | wc -c", []string{"echo " + big + " | wc -c"}},
	} {
		got := a.between(func() { s.line(tt.keys) })
		slices.Sort(got)
		slices.Sort(tt.want)
		if !slices.Equal(got, tt.want) {
			t.Errorf("keys %.80q\nasked %.200q\nwant  %.200q", tt.keys, got, tt.want)
		}
	}
	if got := s.line("ls -d ${TMPDIR:-/tmp}/tmp.*/.zshrc"); !strings.Contains(got, "no matches") {
		t.Errorf("its start-up file is still there: %q", got)
	}
	s.keys("exit 3\n")
	<-s.end
	if e, err := s.p.Wait(t.Context()); err != nil || e.Status != 3 {
		t.Errorf("Wait = %+v, %v", e, err)
	}
}

// TestZshHookStands: what is refused does not run, and what would put the guard out is refused or stays without effect.
func TestZshHookStands(t *testing.T) {
	r := newHost(t, zshHost...).target(t)
	s := openZsh(t, r, &asker{no: "bad"})
	for _, k := range []string{
		"bad; echo LEA''KED", "true && bad || echo LEA''KED", "(bad); echo LEA''KED", "echo LEA''KED$(ba''d; bad)", "eval ba''d; echo LEA''KED",
		"cat <(bad); echo LEA''KED", "{ echo LEA''KED } > /tmp/bad", "echo x | bad | cat; echo LEA''KED",
	} {
		if got := s.line(k); strings.Contains(got, "\rLEAKED") || strings.Contains(got, "\nLEAKED") || !strings.Contains(got, "refused by a test") {
			t.Errorf("%q let more run: %q", k, got)
		}
	}
	s.p.Close()
	for _, k := range []string{
		"trap - DEBUG", "t=trap; $t - DEBUG", "unsetopt debugbeforecmd", "TRAPZERR() { ba''d }; false", "functions[TRAPZERR]=x", "exec zsh -f", "zmodload zsh/parameter",
		"__sallyport_port=1", "a=__sally; x=\"${a}port_token=5\"; ((x))", "a=__sally; typeset +r ${a}port_token; typeset ${a}port_token=1", "a=__sally; typeset -r ${a}port_answer=yyyyyyyyyyyyyyyyyyyy",
		"typeset -r REPLY=1", "ztcp -c 3", "ztcp localhost 1", "unfunction precmd", "ulimit -n 60", "z=ZSH_DEBUG_; typeset -r ${z}CMD=ls", "IFS=0123456789abcdef", "set -eu",
	} {
		a := &asker{no: "bad"}
		s := openZsh(t, r, a)
		var shown string
		for _, line := range []string{k, "id -u; bad; echo LEA''KED"} {
			s.keys(line + "\n")
			shown += s.wait(prompt())
		}
		if strings.Contains(shown, "\rLEAKED") || strings.Contains(shown, "\nLEAKED") || strings.Contains(shown, "not found: bad") {
			t.Errorf("after %q it ran: %q", k, shown)
		}
		s.p.Close()
	}
}

// TestZshHookWithdrawn: Ctrl-C while a command is held takes the question back, and a lost trap ends the session.
func TestZshHookWithdrawn(t *testing.T) {
	r := newHost(t, zshHost...).target(t)
	for _, k := range []string{"held now", "(held now)", "echo $(: ; eval 'held 'now)"} {
		a := &asker{hold: "held now", held: make(chan struct{}, 9), ended: make(chan error, 9)}
		s := openZsh(t, r, a)
		s.keys(k + "\n")
		<-a.held
		s.keys("\x03")
		if err := <-a.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%q: the question ended with %v", k, err)
		}
		s.wait(prompt())
		s.line("echo back")
		s.p.Close()
	}
	s := openZsh(t, r, &asker{})
	s.p.(*process).hook.Prompt("", "interactive\ninteractivecomments", "")
	<-s.end
	if _, err := s.p.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "its trap is gone") {
		t.Errorf("Wait = %v", err)
	}
}
