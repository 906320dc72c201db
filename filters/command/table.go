package command

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"
	"strings"
	"sync"
)

// Table says what programs do. It is immutable and safe for concurrent use.
type Table struct {
	programs  map[string]*entry
	variables map[string]variableKind
	prefixes  []prefixVariable // of variables, longest first
	paths     []pathRule
}

// Source is the text of one table file.
type Source struct {
	Name string // for errors: file:line:column
	Text []byte
}

// maxTable bounds one source, in bytes.
const maxTable = 4 << 20

//go:embed tables/*.tbl
var tables embed.FS

// DefaultSources returns the tables that are built in, in the order in which they are read.
func DefaultSources() []Source {
	names, err := fs.Glob(tables, "tables/*.tbl")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	sources := make([]Source, 0, len(names))
	for _, name := range names {
		text, err := tables.ReadFile(name)
		if err != nil {
			panic(err) // it was embedded
		}
		sources = append(sources, Source{Name: name, Text: text})
	}
	return sources
}

// Default returns the table made of [DefaultSources].
var Default = sync.OnceValue(func() *Table {
	t, err := NewTable(DefaultSources()...)
	if err != nil {
		panic(err) // a test reads it
	}
	return t
})

// NewTable reads sources in their order. A program, path or variable of a later source replaces one of an earlier;
// within one source it is an error to say something twice. The error names every mistake as file:line:column.
func NewTable(sources ...Source) (*Table, error) {
	t := &Table{programs: map[string]*entry{}, variables: map[string]variableKind{}}
	var errs []error
	for _, s := range sources {
		r := tableReader{table: t, name: s.Name, seen: map[string]bool{}}
		r.read(s.Text)
		errs = append(errs, r.errs...)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	sort.SliceStable(t.prefixes, func(i, j int) bool { return len(t.prefixes[i].prefix) > len(t.prefixes[j].prefix) })
	for _, e := range t.programs {
		e.finish()
	}
	return t, nil
}

// Programs returns the names of all programs in the table, sorted.
func (t *Table) Programs() []string {
	names := make([]string, 0, len(t.programs))
	for name := range t.programs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (t *Table) program(name string) *entry { return t.programs[name] }

type variableKind uint8

const (
	variableOther    variableKind = iota // may change what a program does that gets it
	variableHarmless                     // changes nothing that matters
	variableOpaque                       // changes what runs, even unexported
)

type prefixVariable struct {
	prefix string
	kind   variableKind
}

// variable says what setting a variable may do.
func (t *Table) variable(name string) variableKind {
	if kind, ok := t.variables[name]; ok {
		return kind
	}
	for _, p := range t.prefixes {
		if strings.HasPrefix(name, p.prefix) {
			return p.kind
		}
	}
	return variableOther
}

type pathRule struct {
	pattern string
	class   Class
}

// path returns the classes of changing the file at path.
func (t *Table) path(path string) Class {
	var c Class
	path = cleanPath(path)
	if len(path) > maxPath {
		path = path[:maxPath] + "*"
	}
	for _, r := range t.paths {
		if c&r.class != r.class && matchPath(r.pattern, path) {
			c |= r.class
		}
	}
	return c
}

// maxPath bounds the part of a path that rules are matched with, in bytes.
const maxPath = 512

// cleanPath removes //, /./ and, since a rule must not be dodged by them, resolves .. by the letter.
func cleanPath(path string) string {
	if strings.HasPrefix(path, "../") {
		// However far it goes up, it may end at the root.
		path = "/" + strings.TrimLeft(path, "./")
	}
	if !strings.Contains(path, "//") && !strings.Contains(path, "./") && !strings.HasSuffix(path, "..") {
		return path
	}
	var out []string
	parts := strings.Split(path, "/")
	for i, part := range parts {
		switch {
		case part == "." || part == "" && i > 0 && i < len(parts)-1:
		case part == ".." && len(out) > 0 && out[len(out)-1] != "..":
			if len(out) > 1 || out[0] != "" {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, part)
		}
	}
	return strings.Join(out, "/")
}

// matchPath reports whether path may be of pattern, in which * stands for anything, slashes included. A path may be a
// pattern of the shell itself, in which *, ? and [ stand for anything but a slash and a dot at the start of a name: it
// matches if there is a name that is of both.
func matchPath(pattern, path string) bool {
	if !strings.ContainsAny(path, "*?[") {
		return matchPlain(pattern, path)
	}
	for i := 0; i < len(path); i++ {
		if path[i] == '[' { // what is in brackets is not looked at: it may be anything
			path = path[:i] + "*"
		}
	}
	return matchBoth(pattern, path, make(map[[2]int]bool))
}

// matchBoth reports whether there is a string of both pattern and path; seen bounds the work.
func matchBoth(pattern, path string, seen map[[2]int]bool) bool {
	at := [2]int{len(pattern), len(path)}
	if seen[at] {
		return false // tried already
	}
	seen[at] = true
	switch {
	case pattern == "" && path == "":
		return true
	case pattern != "" && pattern[0] == '*':
		return matchBoth(pattern[1:], path, seen) || path != "" && matchBoth(pattern, path[1:], seen)
	case path != "" && (path[0] == '*' || path[0] == '?'):
		return matchBoth(pattern, path[1:], seen) ||
			pattern != "" && pattern[0] != '/' && pattern[0] != '.' && matchBoth(pattern[1:], path, seen)
	}
	return pattern != "" && path != "" && pattern[0] == path[0] && matchBoth(pattern[1:], path[1:], seen)
}

func matchPlain(pattern, path string) bool {
	for {
		lit, rest, star := strings.Cut(pattern, "*")
		if !strings.HasPrefix(path, lit) {
			return false
		}
		if !star {
			return path == lit
		}
		if rest == "" {
			return true
		}
		if !strings.Contains(rest, "*") {
			return len(path) >= len(lit)+len(rest) && strings.HasSuffix(path, rest)
		}
		next, _, _ := strings.Cut(rest, "*")
		i := strings.Index(path[len(lit):], next)
		if i < 0 {
			return false
		}
		pattern, path = rest, path[len(lit)+i:]
	}
}

// kind says what an operand or the value of an option is.
type kind uint8

const (
	kindNone   kind = iota // a word that names nothing
	kindRead               // a file that is read
	kindWrite              // a file that is written
	kindRemove             // a file that is removed
	kindMove               // a file that is there under another name afterwards
	kindDir                // a directory in which it works
	kindHost               // a host, possibly as user@host:port
	kindURL                // a URL or host
	kindRemote             // [user@]host:path or a URL; else a file
	kindShell              // code for a shell: this word, or for an operand all that follow
	kindRun                // here and in all words that follow stands a command
	kindScript             // a file whose code is run
	kindCode               // code in another language
)

var kinds = map[string]kind{
	"none": kindNone, "read": kindRead, "write": kindWrite, "remove": kindRemove, "move": kindMove, "dir": kindDir, "host": kindHost, "url": kindURL,
	"remote": kindRemote, "shell": kindShell, "run": kindRun, "script": kindScript, "code": kindCode,
}

// entry is a row of the table: a program or a subcommand.
type entry struct {
	name  string
	class Class
	why   string // not empty: opaque, whatever its arguments are
	stdin Class  // more classes if its standard input is a pipe or a file

	strict  bool  // an option that is not listed is opaque
	posix   bool  // options end at the first operand
	onedash bool  // options with one dash are words: -delete
	assigns bool  // NAME=value before the operands is an assignment
	alone   Class // more classes if no subcommand is given
	bare    bool  // without operands there is nothing to run
	hook    hook

	operands []kind // of the first operands
	rest     kind   // of all that follow
	final    kind   // of the last, if there are several and hasFinal
	hasRest  bool
	hasFinal bool

	options map[string]*option
	longs   []string // names of options with two dashes, sorted
	subs    map[string]*entry
	globs   []*entry // subcommands whose name ends in *, longest first

	plain bool // unknown words cannot make it do more than read
}

// option is one option of an entry.
type option struct {
	name     string
	class    Class
	why      string
	value    bool // takes a value, in the next word unless attached
	attached bool // takes a value only if attached
	kind     kind
	shift    bool // the first kind of operand is given by this option: operands begin with the second
	info     bool // the program tells something and does nothing else, if nothing else is asked
	query    bool // as the first argument: it tells something about its operands and does nothing else
}

// finish computes what follows from the rows.
func (e *entry) finish() {
	e.longs = e.longs[:0]
	plain := e.class&^Read == 0 && e.why == "" && e.hook.run == nil && !e.strict && len(e.subs) == 0 && len(e.globs) == 0
	for name, o := range e.options {
		if strings.HasPrefix(name, "--") {
			e.longs = append(e.longs, name)
		}
		plain = plain && o.class&^Read == 0 && o.why == "" && o.kind <= kindRead
	}
	for _, k := range append([]kind{e.rest, e.final}, e.operands...) {
		plain = plain && k <= kindRead
	}
	e.plain = plain
	slices.Sort(e.longs)
	sort.SliceStable(e.globs, func(i, j int) bool { return len(e.globs[i].name) > len(e.globs[j].name) })
	for _, sub := range e.subs {
		sub.finish()
	}
	for _, sub := range e.globs {
		sub.finish()
	}
}

// sub returns the row of a subcommand, or nil.
func (e *entry) sub(name string) *entry {
	if s := e.subs[name]; s != nil {
		return s
	}
	for _, s := range e.globs {
		if strings.HasPrefix(name, strings.TrimSuffix(s.name, "*")) {
			return s
		}
	}
	return nil
}

func (e *entry) hasSubs() bool { return len(e.subs) > 0 || len(e.globs) > 0 }

// operandKind returns what operand i of n is. A kind that takes all that follows shows itself at its place.
func (e *entry) operandKind(i, n int) kind {
	switch {
	case e.hasFinal && i == n-1 && n > 1:
		return e.final
	case i < len(e.operands):
		return e.operands[i]
	}
	return e.rest
}

// takesAll reports whether operand i and all words behind it are a command or shell code.
func (e *entry) takesAll(i int) bool {
	k := e.rest
	if i < len(e.operands) {
		k = e.operands[i]
	}
	return k == kindRun || k == kindShell
}

// clone returns a copy of e that shares nothing that changes while tables are read.
func (e *entry) clone() *entry {
	c := *e
	c.options = make(map[string]*option, len(e.options))
	for k, v := range e.options {
		c.options[k] = v
	}
	c.subs = make(map[string]*entry, len(e.subs))
	for k, v := range e.subs {
		c.subs[k] = v
	}
	c.globs, c.operands, c.longs = slices.Clone(e.globs), slices.Clone(e.operands), nil
	return &c
}

func (e *entry) String() string { return fmt.Sprintf("%s: %s", e.name, e.class) }
