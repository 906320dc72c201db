// Package sql finds out what SQL statements would do before they do it.
//
// [Read] turns the tree that PostgreSQL's own grammar makes of a text into [Statement] values: what each one
// does, to which relations, through which functions. The grammar itself is C and can be made to crash, so it
// is never run in the gate: package grammar runs it in a process of its own, package child keeps such
// processes. What is not understood is opaque, a fact like any other.
//
// The facts are about the text. What names mean is the server's to say: a function may have been replaced, a
// view hides what it reads. A caller with a catalog adds what it knows; README.md lists what stays unknown.
package sql

import (
	"slices"
	"strings"
)

// A Statement is one statement of a text, and what it would do.
type Statement struct {
	Start  int    `json:"start"` // bytes Start to End of the text are this statement, without its semicolon
	End    int    `json:"end"`
	Action string `json:"action"` // of the policies' schema: "sql:select"
	Verb   string `json:"verb"`   // "SELECT", "DROP", "COPY"

	Reads      []string `json:"reads,omitempty"`      // relations as written: schema.name or name
	Writes     []string `json:"writes,omitempty"`     // relations that it changes, also by DDL
	Columns    []string `json:"columns,omitempty"`    // as written: name or table.name; "*" for all
	Conditions []string `json:"conditions,omitempty"` // names of columns by which rows are chosen, joined, sorted or grouped; "*" for all
	Functions  []string `json:"functions,omitempty"`  // called by name, as written
	Operators  []string `json:"operators,omitempty"`  // used by name
	Unknown    []string `json:"unknown,omitempty"`    // of Functions, those that nothing is known of here
	Classes    []string `json:"classes"`              // of the policies: read write destructive privilege ...
	Unbounded  bool     `json:"unbounded,omitempty"`  // an UPDATE, DELETE or MERGE that no row escapes
	Opaque     bool     `json:"opaque,omitempty"`     // for other reasons than Unknown
	Why        []string `json:"why,omitempty"`        // why it is opaque, or has its classes
	File       bool     `json:"file,omitempty"`
	Program    bool     `json:"program,omitempty"`

	// What a session has to remember of it.

	Settings    []string   `json:"settings,omitempty"`    // settings that it changes; "*" for any
	Mode        string     `json:"mode,omitempty"`        // of the transaction that it begins or changes: "read only", "read write"
	Locks       bool       `json:"locks,omitempty"`       // rows, by FOR UPDATE and its like: no read-only transaction may
	Transaction string     `json:"transaction,omitempty"` // "begin", "commit", "rollback", "savepoint", ...
	Hold        bool       `json:"hold,omitempty"`        // a cursor that outlives its transaction, and is run when that ends
	Name        string     `json:"name,omitempty"`        // of the prepared statement or cursor it makes, uses or drops; of what SHOW shows
	Inner       *Statement `json:"inner,omitempty"`       // what PREPARE, DECLARE and EXPLAIN are about
	CopyOut     *Copy      `json:"copy_out,omitempty"`    // COPY ... TO STDOUT
	CopyIn      bool       `json:"copy_in,omitempty"`     // COPY ... FROM STDIN

	// Of a statement that was read by its shape, see [Shape]: the one of the same shape that was read, and its numbers.
	Like    *Statement `json:"-"`
	Numbers string     `json:"-"`
}

// A Copy says how the rows of COPY ... TO STDOUT look.
type Copy struct {
	Relation  string   `json:"relation,omitempty"` // "" when a query is copied
	Columns   []string `json:"columns,omitempty"`  // empty: all, in their order
	Format    string   `json:"format"`             // text, csv or binary
	Delimiter string   `json:"delimiter,omitempty"`
	Quote     string   `json:"quote,omitempty"`
	Escape    string   `json:"escape,omitempty"`
	Null      string   `json:"null,omitempty"`
	Header    bool     `json:"header,omitempty"`
}

// Opaque returns the one statement that text is when it cannot be understood, for the reason why.
func Opaque(text, why string) Statement {
	return Statement{End: len(text), Action: "sql:other", Verb: "?", Classes: []string{}, Opaque: true, Why: []string{why}, Settings: []string{"*"}}
}

// Relations are all relations that s names.
func (s *Statement) Relations() []string {
	return sorted(append(slices.Clone(s.Reads), s.Writes...))
}

// Context returns the facts as policies know them. Text is the exact statement. Without a catalog to say what
// they are, unknown functions make it opaque.
func (s *Statement) Context(text string) map[string]any {
	why := slices.Clone(s.Why)
	for _, f := range s.Unknown {
		why = add(why, "nothing is known of the function "+f)
	}
	return map[string]any{
		"text": text, "verb": s.Verb, "relations": s.Relations(), "reads": list(s.Reads), "writes": list(s.Writes),
		"columns": list(s.Columns), "functions": list(s.Functions), "unbounded": s.Unbounded, "classes": list(s.Classes),
		"opaque": s.Opaque || len(s.Unknown) > 0, "why": list(why), "file": s.File, "program": s.Program,
	}
}

// Is tells whether s has a class.
func (s *Statement) Is(class string) bool { return slices.Contains(s.Classes, class) }

// Obscure makes s opaque, for one more reason.
func (s *Statement) Obscure(why string) {
	s.Opaque = true
	s.Why = add(s.Why, why)
}

func (s *Statement) class(names ...string) {
	for _, n := range names {
		s.Classes = add(s.Classes, n)
	}
}

// add appends v once.
func add(to []string, v string) []string {
	if slices.Contains(to, v) {
		return to
	}
	return append(to, v)
}

func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func sorted(s []string) []string {
	slices.Sort(s)
	return list(slices.Compact(s))
}

// dotted writes a name of several parts. A part with a dot of its own is quoted, so that "a.b" is never a.b.
func dotted(parts []string) string {
	out := make([]string, len(parts))
	for i, p := range parts {
		if strings.ContainsAny(p, `."`) {
			p = `"` + strings.ReplaceAll(p, `"`, `""`) + `"`
		}
		out[i] = p
	}
	return strings.Join(out, ".")
}
