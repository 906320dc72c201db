package command

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// What real shells run is the judge: every program that a shell started must be among the facts, or the facts opaque.

var (
	realCount = flag.Int("real.n", 200, "random commands that each shell runs")
	realSeed  = flag.Uint64("real.seed", 1, "seed of the random commands; 0: by the time")
)

// stubs are programs that do nothing but say that they ran. They are names of the default table.
var stubs = []string{"rm", "ls", "cp", "cat", "grep", "git", "curl", "reboot", "dd"}

// wrappers are real.
var wrappers = []string{"env", "xargs", "nice", "timeout", "nohup", "setsid", "find", "sh", "bash"}

const stubScript = `#!/bin/sh
printf '%s\n' "${0##*/}" >>"$STUB_LOG"
`

const sudoScript = `#!/bin/sh
printf 'sudo\n' >>"$STUB_LOG"
exec "$@"
`

// realShells returns the shells of this machine by name. bash is always there where `make test` runs.
func realShells(t *testing.T) map[string][]string {
	t.Helper()
	shells := map[string][]string{}
	for name, args := range map[string][]string{"bash": {"--norc", "-c"}, "dash": {"-c"}, "zsh": {"-f", "-c"}} {
		path, err := exec.LookPath(name)
		if err != nil {
			if name == "bash" {
				t.Fatal("bash is missing")
			}
			t.Logf("%s is not installed", name)
			continue
		}
		shells[name] = append([]string{path}, args...)
	}
	return shells
}

// stubPath makes a directory of stubs and wrappers.
func stubPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "stubs") // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range stubs {
		writeFile(t, filepath.Join(dir, name), stubScript)
	}
	writeFile(t, filepath.Join(dir, "sudo"), sudoScript)
	for _, name := range wrappers {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// runReal runs text and returns the stubs that ran and the files that it made. Random commands can be fork bombs, loops
// and floods: each runs in a process namespace of its own, which ends whole with its first process, as a user of its
// own, and with limits to processes, memory, files and time.
func runReal(t *testing.T, shell []string, bin, text string) (ran, made []string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "real")
	if err != nil {
		t.Error(err)
		return nil, nil
	}
	defer os.RemoveAll(dir)
	log, work := filepath.Join(dir, "log"), filepath.Join(dir, "work")
	if err := errors.Join(os.Chmod(dir, 0o777), os.Mkdir(work, 0o755), os.Chmod(work, 0o777)); err != nil {
		t.Error(err)
		return nil, nil
	}
	cmd, cancel := confined(append(shell[:len(shell):len(shell)], text))
	defer cancel()
	cmd.Dir = work
	cmd.Env = []string{"PATH=" + bin, "STUB_LOG=" + log, "HOME=" + work, "FUNCNEST=20"}
	_ = cmd.Run() // most random commands fail
	if data, err := os.ReadFile(log); err == nil {
		ran = strings.Fields(string(data))
	}
	entries, _ := os.ReadDir(work)
	for _, e := range entries {
		made = append(made, e.Name())
	}
	return ran, made
}

// confined returns a command that runs args within limits. Its first process waits, by the end of its output, for what
// args left in the background.
func confined(args []string) (*exec.Cmd, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	limits := []string{"--nproc=64", "--as=536870912", "--fsize=1048576", "--cpu=2", "--core=0", "--", "/bin/sh", "-c",
		`"$0" "$@" 2>&1 </dev/null | /bin/cat >/dev/null`}
	cmd := exec.CommandContext(ctx, "/usr/bin/prlimit", append(limits, args...)...)
	host := os.Getuid()
	if host == 0 {
		host = 61234 // nobody's: limits do not bind root
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: host, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: max(os.Getgid(), 1), Size: 1}},
		Credential:  &syscall.Credential{Uid: 1000, Gid: 1000, NoSetGroups: true},
		Pdeathsig:   syscall.SIGKILL,
	}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.GidMappings[0].HostID = host
	}
	cmd.WaitDelay = time.Second
	return cmd, cancel
}

// needConfined skips a test where the kernel gives no namespaces: outside of one, random commands are a danger.
func needConfined(t *testing.T) {
	t.Helper()
	cmd, cancel := confined([]string{"/bin/true"})
	defer cancel()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("this kernel gives no process namespace, so random commands cannot be run safely: %v %s", err, out)
	}
}

// checkReal compares what ran with the facts.
//
// For a redirection without a command zsh runs cat, on the terminal more (NULLCMD): README.md says so.
func checkReal(t *testing.T, name, text string, ran, made []string) {
	t.Helper()
	f := Parse(text)
	if f.Opaque {
		return
	}
	for _, program := range ran {
		if program == "cat" && name == "zsh" && len(f.Redirects) > 0 {
			continue
		}
		if !slices.ContainsFunc(f.Programs, func(p Program) bool { return p.Name == program }) {
			t.Errorf("%s ran %s, which is not in the facts of\n%s\nprograms: %v", name, program, text, f.Programs)
		}
	}
	for _, file := range made {
		if !slices.Contains(f.Writes, file) && !slices.Contains(f.Writes, "./"+file) && file != "nohup.out" {
			t.Errorf("%s made the file %q, which is not in the facts of\n%s\nwrites: %q", name, file, text, f.Writes)
		}
	}
}

// TestReal runs random commands in the shells of this machine.
func TestReal(t *testing.T) {
	seed := *realSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	needConfined(t)
	bin, shells := stubPath(t), realShells(t)
	texts := make(chan string)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for text := range texts {
				for name, shell := range shells {
					ran, made := runReal(t, shell, bin, text)
					checkReal(t, name, text, ran, made)
				}
			}
		})
	}
	g := generator{Rand: rand.New(rand.NewPCG(seed, 1))}
	var clear int
	for range *realCount {
		text := g.text()
		if !Parse(text).Opaque {
			clear++
		}
		texts <- text
	}
	close(texts)
	wg.Wait()
	t.Logf("%d of %d commands were not opaque", clear, *realCount)
	if clear < *realCount/10 {
		t.Errorf("only %d of %d commands were not opaque: the test shows little", clear, *realCount)
	}
}

// TestConfined makes sure that the harness holds what the random commands may be.
func TestConfined(t *testing.T) {
	needConfined(t)
	bin := stubPath(t)
	for name, shell := range realShells(t) {
		text := "rm a; env nice ls; echo b > w1; (dd; curl) & echo c | xargs git"
		ran, made := runReal(t, shell, bin, text)
		slices.Sort(ran)
		if want := []string{"curl", "dd", "git", "ls", "rm"}; !slices.Equal(ran, want) || !slices.Equal(made, []string{"w1"}) {
			t.Errorf("%s ran %q and made %q, want %q and w1: the harness does not see what runs", name, ran, made, want)
		}
	}
	for _, text := range []string{
		`f() { ls $(f); }; f`,
		`f() { setsid sh -c "$1" x "$1"; }; sh -c 'setsid sh -c "$0" "$0" & setsid sh -c "$0" "$0"' 'setsid sh -c "$0" "$0" & setsid sh -c "$0" "$0"'`,
		`while :; do echo x; done > w1`,
	} {
		start := time.Now()
		runReal(t, []string{"/bin/bash", "--norc", "-c"}, bin, text)
		t.Logf("%s: %v", text, time.Since(start))
	}
	for _, pid := range processes(t) {
		data, err := os.ReadFile(filepath.Join("/proc", pid, "environ"))
		if err == nil && bytes.Contains(data, []byte("PATH="+bin)) {
			t.Errorf("process %s is left", pid)
		}
	}
}

func processes(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, e := range entries {
		if e.Name()[0] >= '1' && e.Name()[0] <= '9' {
			pids = append(pids, e.Name())
		}
	}
	return pids
}

// TestRealSeeds runs commands that once were wrong, and those that shells are known to read differently.
func TestRealSeeds(t *testing.T) {
	needConfined(t)
	bin, shells := stubPath(t), realShells(t)
	for _, text := range realSeeds {
		for name, shell := range shells {
			ran, made := runReal(t, shell, bin, text)
			checkReal(t, name, text, ran, made)
		}
	}
}

var realSeeds = []string{
	`echo $'\'; rm x; #'`,
	`[[ -n x || reboot ]]`,
	`((reboot))`,
	`echo a &>f rm x`,
	`x='a[$(rm)]'; echo $((x))`,
	`x='a[$(rm)]'; [ $x -eq 1 ]`,
	`x='a[$(rm)]'; [[ $x -eq 1 ]]`,
	`[ -v 'a[$(rm)]' ]`,
	`printf '%d' 'a[$(rm)]'`,
	`x='a[$(rm)]'; printf '%d' "$x"`,
	`x='a[$(rm)]'; printf '%s %*s' a "$x" b`,
	`x='%d'; y='a[$(rm)]'; printf "$x" "$y"`,
	`printf -v 'a[$(rm)]' x`,
	`x='$(rm)'; echo "${x@P}"`,
	`x='a[$(rm)]'; echo ${!x}`,
	`x='a[$(rm)]'; echo ${y:x}`,
	`x='a[$(rm)]'; echo ${y[x]}`,
	`x='a[$(rm)]'; exit $x`,
	`declare -i x; x='a[$(rm)]'`,
	`declare -n x='a[$(rm)]'; echo $x`,
	`read 'a[$(rm)]' <<< 1`,
	`unset 'a[$(rm)]'`,
	`test -v 'a[$(rm)]'`,
	`let 'a[$(rm)]=1'`,
	`alias ls=rm
ls`,
	`ls() { rm; }; ls`,
	`=rm`,
	`echo =(rm)`,
	`echo *(e:rm:)`,
	`cat <<E
$(rm)
E`,
	`cat <<"E"
$(rm)
E`,
	"cat <<E\n`rm`\nE",
	`eval "$(echo rm)"`,
	`a=rm; $a`,
	`a=r; b=m; "$a$b"`,
	`IFS=,; a=rm,x; $a`,
	`{rm,x}`,
	`r''m; \ls; "cp"`,
	`$'\162\155'`,
	`trap rm EXIT`,
	`command -p rm; command rm`,
	`exec rm`,
	`sudo rm`,
	`env A=b rm; env -i rm`,
	`echo x | xargs rm`,
	`find . -exec rm {} +`,
	`nohup rm; nice rm; timeout 1 rm; setsid rm`,
	`sh -c 'rm; ls'`,
	`bash -ec 'rm' x`,
	`f() { rm; }; f`,
	`time rm; ! rm`,
	`coproc rm; wait`,
	`echo ${a:-$(rm)} ${a:=` + "`ls`" + `}`,
	`echo "$(echo "$(rm)")"`,
	`cat < <(rm)`,
	`ls > >(cat)`,
	`rm |& ls`,
	`case x in x) rm;; esac`,
	`for i in a b; do rm; done`,
	`select i in a; do rm; break; done <<< 1`,
	`until rm; do :; done`,
	`rm&ls`,
	"r\\\nm",
	`a=([0]=$(rm)); echo`,
	`export a=$(rm)`,
	`echo $[ $(rm) ]`,
	`mapfile -C rm -c 1 < <(echo x)`,
	`PS4='$(rm)'; set -x; ls`,
	`BASH_ENV=x bash -c ls`,
	`hash -p ./x ls; ls`,
	`enable -n echo`,
	`jobs -x rm x`,
	`echo \
rm`,
	"echo a # b\nrm",
	`>a >b; echo x >c`,
	`echo x >| a; cat <> b`,
	`echo x >&a`,
	`{ echo x; } > a`,
	`exec > a; echo x`,
	`echo x | { cat > a; }`,
	`set -- rm x; "$@"`,
	`eval 'eval "rm"'`,
	`- rm`,
	`noglob rm`,
	`repeat 2 rm`,
	`function ls { rm }; ls`,
	`if [[ x ]] { rm }`,
	`rm &!`,
	`< a`,
	`builtin eval rm`,
	`a=1 b=2 rm`,
	`compgen -W '$(rm)'`,
	`x=1; echo $x[$(rm)]`,
	`echo "a
rm"`,
}

// generator makes random commands without a slash, so that nothing outside of the directory can be touched.
type generator struct {
	*rand.Rand
	depth int
	tame  bool // this text has few things that make it opaque, so that the rest of it is tested
}

func (g *generator) pick(list ...string) string { return list[g.IntN(len(list))] }

func (g *generator) text() string {
	g.depth, g.tame = 0, g.IntN(4) > 0
	text := g.list()
	for range g.IntN(3) {
		if g.IntN(2) == 0 && !(g.tame && g.IntN(3) > 0) {
			text = g.mutate(text)
		}
	}
	// A function that calls itself through a pipe is a fork bomb, and what is mutated may become one: no
	// functions, and no other way to run a text again. The seeds have functions that end.
	text = strings.NewReplacer("/", "", "()", "", "function", "").Replace(text)
	for strings.Contains(text, "()") || emptyParens.MatchString(text) {
		text = emptyParens.ReplaceAllString(text, "")
	}
	return text
}

var emptyParens = regexp.MustCompile(`\([\s\\]*\)`)

// mutate changes a text where shells may read it differently.
func (g *generator) mutate(s string) string {
	if s == "" {
		return s
	}
	i := g.IntN(len(s))
	j := i + g.IntN(min(len(s)-i, 6)) + 1
	switch g.IntN(4) {
	case 0:
		return s[:i] + s[j:]
	case 1:
		return s[:i] + s[i:j] + s[i:]
	case 2:
		return s[:i] + g.pick("'", `"`, "`", "$", "(", ")", "{", "}", ";", "&", "|", "\n", " ", "\\", "<", ">", "#", "!", "[", "]",
			"=", "*", "~", "$(", "$'", "((", "[[", "<<", ";;", "&&", "rm", "%", "^", "?", "@", "+", "-", ",", ":", "\t") + s[i:]
	default:
		k := g.IntN(len(s))
		return s[:i] + s[k:min(len(s), k+8)] + s[i:]
	}
}

func (g *generator) list() string {
	var b strings.Builder
	for i := range 1 + g.IntN(3) {
		if i > 0 {
			b.WriteString(g.pick(" ; ", " && ", " || ", " | ", "\n", " & ", ";", "|", " |& "))
		}
		b.WriteString(g.command())
	}
	return b.String()
}

func (g *generator) command() string {
	g.depth++
	defer func() { g.depth-- }()
	if g.depth > 4 {
		return g.simple()
	}
	n := g.IntN(24)
	if g.tame && n > 8 {
		n = 23
	}
	switch n {
	case 0:
		return "( " + g.list() + " )"
	case 1:
		return "{ " + g.list() + "; }"
	case 2:
		return "if " + g.command() + "; then " + g.list() + g.pick("; fi", "; else "+g.command()+"; fi", "\nelif "+g.command()+"\nthen "+g.command()+"\nfi")
	case 3:
		return "for i in " + g.word() + " " + g.word() + "; do " + g.list() + "; done"
	case 4:
		return "case " + g.word() + " in " + g.pick("*", "x", "(x", "a|b") + ") " + g.list() + g.pick(";;", ";&", ";;&", "") + "\nesac"
	case 6:
		d := g.pick("E", "'E'", `"E"`, `\E`, "-E", `E"F"`)
		end := strings.NewReplacer("'", "", `"`, "", `\`, "", "-", "").Replace(d)
		return g.simple() + " <<" + d + "\n" + g.word() + "\n$(" + g.simple() + ")\n" + g.pick("", "\t", "\\\n") + end + "\n" + g.simple()
	case 7:
		return g.pick("time ", "! ", "time -p ", "command ", "builtin ", "exec ", "nice ", "env ", "sudo ",
			"timeout 1 ", "xargs ", "env A=b ", "sudo env ", "find . -maxdepth 0 -exec ") + g.simple() + g.pick("", "", ` \;`)
	case 8:
		return g.pick("eval ", "sh -c ", "bash -c ", "bash -lc ", "trap ", "sh -ec ") + quote(g.list()) + g.pick("", " EXIT", " x y")
	case 9:
		return "[[ " + g.word() + g.pick(" == ", " -eq ", " && ", " || ", " < ", " =~ ", " -nt ") + g.word() + " ]]"
	case 10:
		return g.pick("[ ", "test ") + g.pick("-v ", "-n ", "-z ", "") + g.word() + g.pick("", " -eq 1", " = "+g.word()) + " ]"
	case 11:
		return "((" + g.pick("rm", "x=1", "x", "1+1", g.word()) + "))"
	case 12:
		return g.pick("x", "y", "a", "PATH", "i") + g.pick("=", "=", "+=") + g.pick("rm", "'a[$(rm)]'", "1", g.word(), "(ls "+g.word()+")")
	case 13:
		return g.pick("export", "declare", "local", "readonly", "typeset -i", "declare -n", "unset", "read", "printf -v", "let", "alias",
			"getopts x", "mapfile", "set --", "shift", "exit", "return", "jobs -x", "hash -p", "shopt -s", "set -o", "wait -p") + " " +
			g.pick("x="+g.word(), g.word(), "ls=rm", "'a[$(rm)]'")
	case 14:
		return g.pick("while ", "until ") + g.pick("false", g.simple()) + "; do " + g.list() + "; break; done"
	default:
		return g.simple()
	}
}

func (g *generator) simple() string {
	var b strings.Builder
	b.WriteString(g.pick("", "", "", "", "", "A=b ", "x="+g.part()+" ", ">w1 "))
	b.WriteString(g.name())
	for range g.IntN(3) {
		b.WriteString(" " + g.word())
	}
	b.WriteString(g.pick("", "", "", "", " >w1", " >>w2", " 2>&1", " <w1", " &>w3", " >&w2", " <<< "+g.part(), " >w1 "+g.part(), " # "+g.part(), " < <("+g.name()+")"))
	return b.String()
}

// name is a command word, written in many ways.
func (g *generator) name() string {
	n := g.pick(append(stubs, "echo", ":", "true", "rm", "ls", "echo", "f")...)
	kind := g.IntN(16)
	if g.tame && kind > 2 && kind != 5 {
		kind = 15
	}
	switch kind {
	case 0:
		return n[:1] + "''" + n[1:]
	case 1:
		return `\` + n
	case 2:
		return `"` + n + `"`
	case 3:
		return "$'" + n + "'"
	case 4:
		return fmt.Sprintf(`$'\x%02x'%s`, n[0], n[1:])
	case 5:
		return n[:1] + "\\\n" + n[1:]
	case 6:
		return g.pick("$x", "${a}", "$(echo "+n+")", "`echo "+n+"`", "{"+n+",x}", "="+n, "$a"+n, n+"$b", "r?", "$@")
	}
	return n
}

func (g *generator) word() string {
	w := g.part()
	for range g.IntN(2) {
		w += g.part()
	}
	return w
}

func (g *generator) part() string {
	g.depth++
	defer func() { g.depth-- }()
	if g.depth > 5 {
		return "x"
	}
	kind := g.IntN(26)
	if g.tame && kind > 3 && kind != 10 {
		kind = 25
	}
	switch kind {
	case 0:
		return "$(" + g.list() + ")"
	case 1:
		return "`" + strings.ReplaceAll(g.simple(), "`", "") + "`"
	case 2:
		return `"` + strings.ReplaceAll(g.word(), `"`, "") + `"`
	case 3:
		return "'" + strings.ReplaceAll(g.word(), "'", "") + "'"
	case 4:
		return "$((" + g.pick("1+1", "x", "i", "a[0]", "$x", "1") + "))"
	case 5:
		return g.pick("<(", ">(") + g.simple() + ")"
	case 6:
		return g.pick("${x:-", "${x+", "${x:=", "${x#", "${x//", "${x:", "${!", "${x[", "${#", "${x@", "${x^") + g.pick("a", "$(rm)", "x", "P", g.part()) + "}"
	case 7:
		return g.pick("$x", "$i", "$?", "$#", "$@", "$*", "$$", "$!", "${x}", "$x[1]", "$1")
	case 8:
		return g.pick("*", "?", "[a-z]", "*(x)", "@(a|b)", "{a,b}", "{1..3}", "~", "=rm", "a=b", "{}", "!(x)", "*(e:rm:)")
	case 9:
		return `$'` + g.pick(`a`, `\n`, `\'`, `\x41`, `\\`, `"`) + `'`
	case 10:
		return `\` + g.pick("a", "'", `"`, "$", "`", " ", ";", "\n", "(", "#", "\\")
	case 11:
		return "$[" + g.pick("1", "x", "$(rm)") + "]"
	}
	return g.pick("a", "b", "-n", "x1", "w1", "rm", "--", "-x", "1", "foo", "#x", "!x", "%", ".")
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
