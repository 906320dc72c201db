// Package command turns the text of a shell command into facts that a policy can decide on.
//
// [Parse] never runs anything and never fails. It reads text as bash does and finds every program that would run, with
// its arguments, however it is reached: through pipes, lists, subshells, substitutions, here-documents, env, sudo,
// xargs, find -exec, ssh, sh -c, eval, quoting and escapes. A [Table] of programs and options says what each of them
// does: which class it falls in, which files it reads, writes and removes, which hosts it talks to.
//
// The promise is one-sided. Facts may be more careful than the truth, never less: what cannot be known is Opaque with
// the reasons in Why, and a program the table does not know is opaque. When Opaque is false, every program that the
// command starts is in Programs, and everything those programs do with these arguments is covered by Classes.
//
// Text, nesting and the number of programs are bounded; what goes beyond is opaque, never slow.
package command

import (
	"math/bits"
	"slices"
	"strings"
)

// The bounds of [Parse]. Text beyond one of them is opaque.
const (
	MaxText     = 128 << 10 // bytes of one command
	MaxDepth    = 64        // shells in shells, substitutions, subshells and compound commands, nested
	MaxPrograms = 256       // programs found in one command
	maxWords    = 4096      // words looked at, those of nested commands included
	maxWhy      = 16        // reasons kept; the first are the ones that matter
)

// Class is a set of the kinds of thing that a command does. The zero Class is a command that touches nothing but its
// own output.
type Class uint16

// The classes, in the order of their names.
const (
	Destructive  Class = 1 << iota // destroys data or stops a service: what cannot be taken back
	Exfiltration                   // sends data that it read to another host
	Interpreter                    // runs code in a language other than the shell that was read here
	Network                        // talks to another host, or listens
	Persistence                    // leaves something behind that runs or lets in later
	Privilege                      // runs as another user, or changes who may do what
	Read                           // reads files or state
	Write                          // changes files or state

	numClasses = 8
)

var classNames = [numClasses]string{
	"destructive", "exfiltration", "interpreter", "network", "persistence", "privilege", "read", "write",
}

// Has reports whether all classes of x are in c.
func (c Class) Has(x Class) bool { return c&x == x }

// Names returns the names of the classes in c, sorted.
func (c Class) Names() []string {
	names := make([]string, 0, bits.OnesCount16(uint16(c)))
	for i, name := range classNames {
		if c&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String returns the names of the classes in c joined by commas, or "none".
func (c Class) String() string {
	if c == 0 {
		return "none"
	}
	return strings.Join(c.Names(), ",")
}

// ClassOf returns the class called name.
func ClassOf(name string) (Class, bool) {
	i, ok := slices.BinarySearch(classNames[:], name)
	return 1 << i, ok
}

// Facts is what can be known of a command before it runs. The lists are in order of appearance; Reads, Writes, Removes
// and Hosts hold no entry twice. Facts share memory with each other and with the text: they must not be changed.
type Facts struct {
	Text      string
	Programs  []Program  // every program, builtin and function call
	Redirects []Redirect // as written, also those to /dev/null

	// Files that are read, written and removed, as far as they are named: relative ones as written and, where the
	// command changes directory, also as seen from there. Glob patterns and ~ are not expanded. What only the shell
	// will know is shown as in the text, and Dynamic or Opaque is set.
	Reads, Writes, Removes []string

	Hosts   []string // names or addresses, without user, port and brackets
	Classes Class
	Dynamic bool     // an argument, path or host is known only when the command runs
	Opaque  bool     // it cannot be known what this does
	Why     []string // why it is opaque; empty exactly if Opaque is false
}

// Program is one program, builtin or function that would run.
type Program struct {
	Name string   // without directory
	Path string   // as written, if it was written with a directory
	Args []string // without the name; what only the shell will know is shown as in the text
	Via  []string // what runs it, outermost first: sudo, xargs, "ssh web1", ...; empty: the shell itself

	Classes Class // what this program does with these arguments, redirections apart
}

// String returns the program's name and arguments joined by spaces, for people to read; it is not quoted.
func (p Program) String() string {
	if len(p.Args) == 0 {
		return p.Name
	}
	return p.Name + " " + strings.Join(p.Args, " ")
}

// Redirect is one redirection.
type Redirect struct {
	Op   string // as written: ">", "<<<", "&>>", ...
	Fd   string // the descriptor or {variable} before it, "" for the default
	Path string // the file, the descriptor after & or the delimiter of a here-document
}

// Destructive reports whether the command may destroy something.
func (f *Facts) Destructive() bool { return f.Classes.Has(Destructive) }

// Privileged reports whether the command acts as another user or changes who may do what.
func (f *Facts) Privileged() bool { return f.Classes.Has(Privilege) }

// Harmless reports whether it is certain that the command does no more than read.
func (f *Facts) Harmless() bool { return !f.Opaque && f.Classes&^Read == 0 }

// opaque records a reason why the command cannot be understood.
func (f *Facts) opaque(why string) {
	f.Opaque = true
	if len(f.Why) < maxWhy && !slices.Contains(f.Why, why) {
		f.Why = append(f.Why, why)
	}
}

// Context returns the facts in the form that policies see: values are bool, int64, string or []string only. README.md
// lists the keys. The slices are shared with f where they can be.
func (f *Facts) Context() map[string]any {
	m := map[string]any{
		"text":           f.Text,
		"reads":          orEmpty(f.Reads),
		"writes":         orEmpty(f.Writes),
		"removes":        orEmpty(f.Removes),
		"hosts":          orEmpty(f.Hosts),
		"classes":        f.Classes.Names(),
		"opaque":         f.Opaque,
		"why":            orEmpty(f.Why),
		"dynamic":        f.Dynamic,
		"destructive":    f.Destructive(),
		"privileged":     f.Privileged(),
		"program_count":  int64(len(f.Programs)),
		"redirect_count": int64(len(f.Redirects)),
	}
	programs, commands := make([]string, len(f.Programs)), make([]string, len(f.Programs))
	var n int
	for _, p := range f.Programs {
		n += len(p.Args)
	}
	args := make([]string, 0, n)
	for i, p := range f.Programs {
		programs[i], commands[i] = p.Name, p.String()
		args = append(args, p.Args...)
	}
	m["programs"], m["commands"], m["args"], m["arg_count"] = programs, commands, args, int64(n)
	return m
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
