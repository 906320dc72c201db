package command

import (
	"strings"
	"testing"
)

func TestDefaultTable(t *testing.T) {
	table, err := NewTable(DefaultSources()...)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(table.Programs()); n < 800 {
		t.Errorf("the default table has only %d programs", n)
	}
	for _, name := range table.Programs() {
		checkEntry(t, name, table.program(name), 0)
	}
}

// checkEntry finds rows that cannot mean what they say.
func checkEntry(t *testing.T, path string, e *entry, depth int) {
	t.Helper()
	if depth > 5 {
		t.Fatalf("%s: rows nest too deeply", path)
	}
	for _, k := range append([]kind{e.rest}, e.operands...) {
		if k == kindRun && !e.strict && e.name != "busybox" && e.name != "toybox" && !strings.Contains(path, " ") &&
			e.name != "noglob" && e.name != "nocorrect" && e.name != "-" {
			t.Errorf("%s runs a command, but an unknown option may hide where it begins: it must be strict", path)
		}
	}
	for name, sub := range e.subs {
		checkEntry(t, path+" "+name, sub, depth+1)
	}
	for _, sub := range e.globs {
		checkEntry(t, path+" "+sub.name, sub, depth+1)
	}
}

func TestOperatorTable(t *testing.T) {
	const mine = `# our own tools
program deployctl : network read
	option --force : destructive
	option --config=read
	sub status list-* : read
	sub roll* : write
	sub shell : interpreter opaque="a shell on the machine"
program corp-run : posix strict operands=none,run
program ls : write
program mykube : like=kubectl
path /srv/secret/* : privilege
variable DEPLOY_ENV MY_* : harmless
`
	table, err := NewTable(append(DefaultSources(), Source{"mine.tbl", []byte(mine)})...)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		text    string
		opaque  bool
		classes Class
	}{
		{"deployctl status", false, Network | Read},
		{"deployctl list-apps", false, Network | Read},
		{"deployctl rollback", false, Network | Read | Write},
		{"deployctl --config f rollout --force", false, Network | Read | Write | Destructive},
		{"deployctl --forc status", false, Network | Read | Destructive},
		{"deployctl shell", true, Network | Read | Interpreter},
		{"deployctl unknown", true, Network | Read},
		{"deployctl --unknown status", true, Network | Read},
		{"deployctl $x", true, Network | Read},
		{"corp-run prod rm x", false, Write | Destructive},
		{"corp-run -x prod rm x", true, Write | Destructive},
		{"ls", false, Write},
		{"mykube get pods", false, Network | Read},
		{"mykube delete pod x", false, Network | Read | Write | Destructive},
		{"echo x > /srv/secret/y", false, Write | Privilege},
		{"DEPLOY_ENV=x MY_VAR=y deployctl status", false, Network | Read},
	} {
		f := table.Parse(tt.text)
		if f.Opaque != tt.opaque || !f.Classes.Has(tt.classes) || !tt.opaque && f.Classes != tt.classes {
			t.Errorf("Parse(%q) = %v, opaque %v %q; want %v, opaque %v", tt.text, f.Classes, f.Opaque, f.Why, tt.classes, tt.opaque)
		}
	}
	if f := Parse("deployctl status"); !f.Opaque {
		t.Error("the default table knows a program that only another table has")
	}
}

func TestTableErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"program", "t:1:1: program without a name"},
		{"program x : wirte", `t:1:13: unknown item "wirte"`},
		{"\n  prog x", `t:2:3: unknown row "prog"`},
		{"program x y x : read", `t:1:13: "x" is said twice`},
		{"program a/b : read", "t:1:9: a program's name has no slash"},
		{"option -x : read", "t:1:1: option must be indented"},
		{"program x : read\n\t\toption -x", "t:2:3: option must be indented"},
		{"program x : read\n\toption x", "t:2:9: an option begins with a dash"},
		{"program x : read\n\toption -x=file", `t:2:9: unknown kind of value "file"`},
		{"program x : read\n\toption -x : operands=read", `t:2:14: unknown item "operands=read"`},
		{"program x : operands=file", `t:1:13: unknown kind of operand "file"`},
		{"program x : operands=read...,write...", "t:1:13: only one kind may follow"},
		{"program x : opaque=\"", "t:1:13: quote without an end"},
		{"program x : opaque=why", "t:1:13: opaque= takes a reason"},
		{"program x : hook=none", `t:1:13: unknown hook "none"`},
		{"program x : like=y", `t:1:13: no program "y" above`},
		{"program x : read like=x", "t:1:18: like= must come first"},
		{"program x : stdin=all", "t:1:13: stdin= takes classes"},
		{"program x\t: read", "t:1:10: tab within a line"},
		{"path /x", "t:1:1: write: path PATTERN"},
		{"path /x : secret", "t:1:11: path takes classes"},
		{"variable X : maybe", "t:1:1: write: variable NAME"},
		{"program x : read\n\tprogram y : read", "t:2:2: program must not be indented"},
		{"program \xff", "t:1:1: not valid UTF-8"},
	} {
		_, err := NewTable(Source{"t", []byte(tt.text)})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("NewTable(%q): %v; want %q", tt.text, err, tt.want)
		}
	}
	if _, err := NewTable(Source{"a", []byte("program x : wirte\nprogram y : raed")}); strings.Count(err.Error(), "a:") != 2 {
		t.Errorf("not every mistake is told: %v", err)
	}
}

func TestMatchPath(t *testing.T) {
	for _, tt := range []struct {
		pattern, path string
		want          bool
	}{
		{"/etc/cron*", "/etc/cron.d/x", true},
		{"/etc/cron*", "/etc/crom", false},
		{"*/.bashrc", "/home/a/.bashrc", true},
		{"*/.bashrc", "~/.bashrc", true},
		{"*/.bashrc", "/home/a/.bashrc2", false},
		{"*/.vim/*", "/home/a/.vim/x", true},
		{"*/.vim/*", "/home/a/vim/x", false},
		{"/", "/", true},
		{"/", "/x", false},
		{"/etc/passwd", "/etc/pass*", true},
		{"/etc/passwd", "/etc/[p]asswd", true},
		{"/etc/passwd", "/e?c/passwd", true},
		{"/etc/passwd", "/*/passwd", true},
		{"/etc/passwd", "/*", false},
		{"/etc/cron*", "/etc/*", true},
		{"*/.bashrc", "/home/*/.bashrc", true},
		{"*/.bashrc", "/home/a/.b*", true},
		{"*/.bashrc", "*.log", false},
		{"/etc/passwd", "/srv/*.txt", false},
	} {
		if got := matchPath(tt.pattern, tt.path); got != tt.want {
			t.Errorf("matchPath(%q, %q) = %v, want %v", tt.pattern, tt.path, got, tt.want)
		}
	}
	for path, want := range map[string]string{
		"/etc/../etc/./passwd": "/etc/passwd", "/etc//passwd": "/etc/passwd", "a/../../etc/x": "../etc/x", "/..": "",
		"../../etc/passwd": "/etc/passwd", "/a/b/../../c": "/c", "a/b": "a/b",
	} {
		if got := cleanPath(path); got != want {
			t.Errorf("cleanPath(%q) = %q, want %q", path, got, want)
		}
	}
}
