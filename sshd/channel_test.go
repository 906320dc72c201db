package sshd

import (
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func env(name, value string) []byte {
	return ssh.Marshal(struct{ Name, Value string }{name, value})
}

func TestEnvAllowList(t *testing.T) {
	for _, tt := range []struct {
		name string
		want bool
	}{
		{"LANG", true}, {"LC_ALL", true}, {"TZ", true}, {"SALLYPORT_JSON", true},
		{"LD_PRELOAD", false}, {"BASH_ENV", false}, {"PATH", false}, {"SHELLOPTS", false}, {"PS4", false},
		{"LC_", false}, {"LC_A=x", false}, {"lc_all", false}, {"LC_ALL\n", false}, {"", false}, {"SSH_AUTH_SOCK", false},
	} {
		if got := new(asked).setEnv(env(tt.name, "x")); got != tt.want {
			t.Errorf("env %q taken: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestEnvBounds(t *testing.T) {
	a := new(asked)
	if a.setEnv(env("LANG", strings.Repeat("x", maxEnvBytes))) {
		t.Error("a variable over the limit was taken")
	}
	if a.setEnv(env("LANG", "a\x00b")) {
		t.Error("a value with NUL was taken")
	}
	if a.setEnv([]byte("\x00\x00\xff\xffLANG")) {
		t.Error("a malformed request was taken")
	}
	for i := range 200 {
		a.setEnv(env("LC_"+strings.Repeat("A", 1+i), "x"))
	}
	if len(a.env) > maxEnv {
		t.Errorf("%d variables were kept, the limit is %d", len(a.env), maxEnv)
	}
	a = new(asked)
	a.setEnv(env("LANG", "a"))
	a.setEnv(env("LANG", "b"))
	if len(a.env) != 1 || a.env[0] != "LANG=b" {
		t.Errorf("env = %q, want the last LANG alone", a.env)
	}
}

func TestSetStart(t *testing.T) {
	text := func(s string) []byte { return ssh.Marshal(struct{ Text string }{s}) }
	for _, tt := range []struct {
		name, kind string
		payload    []byte
		want       bool
	}{
		{"shell", "shell", nil, true},
		{"exec", "exec", text("id"), true},
		{"exec of nothing", "exec", text(""), true},
		{"exec with NUL", "exec", text("id\x00rm"), false},
		{"exec too long", "exec", text(strings.Repeat("x", maxCommand+1)), false},
		{"exec with a lying length", "exec", []byte{0xff, 0xff, 0xff, 0xff, 'x'}, false},
		{"subsystem", "subsystem", text("sftp"), true},
	} {
		if got := new(asked).setStart(tt.kind, tt.payload); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestSetPty(t *testing.T) {
	pty := func(term string, cols, rows uint32, modes string) []byte {
		return ssh.Marshal(struct {
			Term       string
			Cols, Rows uint32
			W, H       uint32
			Modes      string
		}{term, cols, rows, 0, 0, modes})
	}
	a := new(asked)
	if !a.setPty(pty("xterm-256color", 80, 24, "\x35\x00\x00\x00\x01\x00")) {
		t.Fatal("an ordinary terminal was refused")
	}
	if a.pty.Modes[ssh.ECHO] != 1 || len(a.pty.Modes) != 1 {
		t.Errorf("modes = %v, want ECHO alone", a.pty.Modes)
	}
	if a.setPty(pty("xterm", 80, 24, "")) {
		t.Error("a second terminal was taken")
	}
	for _, term := range []string{"xterm\x1b]0;x\a", "../../etc", "x y", strings.Repeat("x", 65)} {
		if new(asked).setPty(pty(term, 80, 24, "")) {
			t.Errorf("TERM=%q was taken", term)
		}
	}
	b := new(asked)
	if !b.setPty(pty("vt100", 1<<31, 1<<31, "")) || b.pty.Cols > maxSide || b.pty.Rows > maxSide {
		t.Errorf("a huge terminal became %+v", b.pty)
	}
}

func FuzzParseModes(f *testing.F) {
	f.Add("\x35\x00\x00\x00\x01\x00")
	f.Add("\x01")
	f.Add("\xff\x00\x00\x00\x00")
	f.Fuzz(func(t *testing.T, s string) {
		for op := range parseModes(s) {
			if op == 0 || op >= 160 {
				t.Errorf("opcode %d is no mode", op)
			}
		}
	})
}
