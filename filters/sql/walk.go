package sql

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Read turns the grammar's tree of text into statements. Tree is JSON as libpgquery writes it.
func Read(text string, tree []byte) ([]Statement, error) {
	var parsed struct {
		Stmts []struct {
			Stmt     map[string]any `json:"stmt"`
			Location int            `json:"stmt_location"`
			Len      int            `json:"stmt_len"`
		} `json:"stmts"`
	}
	if err := json.Unmarshal(tree, &parsed); err != nil {
		return nil, fmt.Errorf("read the grammar's tree: %w", err)
	}
	out := make([]Statement, 0, len(parsed.Stmts))
	for _, s := range parsed.Stmts {
		end := len(text)
		if s.Len > 0 {
			end = s.Location + s.Len
		}
		if s.Location < 0 || end < s.Location || end > len(text) {
			return nil, fmt.Errorf("the grammar places a statement at %d to %d of %d bytes", s.Location, end, len(text))
		}
		st := statement(s.Stmt)
		st.Start, st.End = s.Location, end
		out = append(out, st)
	}
	return out, nil
}

// statement is one node of the grammar's as facts.
func statement(node map[string]any) Statement {
	w := &walker{st: &Statement{Classes: []string{}}}
	for name, body := range node { // exactly one
		w.statement(name, object(body))
	}
	w.settle()
	st := w.st
	if st.Action == "" {
		*st = Opaque("", "is no statement that is known")
	}
	for _, list := range []*[]string{&st.Reads, &st.Writes, &st.Columns, &st.Functions, &st.Operators, &st.Classes} {
		*list = sorted(*list)
	}
	return *st
}

// A walker collects the facts of one statement.
type walker struct {
	st      *Statement
	ctes    []string // names of WITH that are in scope
	lenient bool     // inside DDL, which is decided on as such: nodes may be unknown

	// For conditions.go.
	decides bool                // inside something by which rows are chosen
	behind  map[string][]string // columns that a name stands for
	rows    []string            // names that stand for whole rows
}

// walk looks at anything of the tree.
func (w *walker) walk(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			w.walk(e)
		}
	case map[string]any:
		w.object(v)
	}
}

// object is a node with its name, {"FuncCall": {...}}, or the body of one where only one kind can stand.
func (w *walker) object(m map[string]any) {
	if len(m) == 1 {
		for name, body := range m {
			if b, ok := body.(map[string]any); ok && name[0] >= 'A' && name[0] <= 'Z' {
				w.named(name, b)
				return
			}
		}
	}
	if _, ok := m["relname"]; ok {
		w.from(m)
		w.relation(m, false)
		return
	}
	w.fields(m)
}

// fields walks a body. WITH comes first: it names what the rest may use.
func (w *walker) fields(m map[string]any) {
	scope := len(w.ctes)
	defer func() { w.ctes = w.ctes[:scope] }()
	if with, ok := m["withClause"].(map[string]any); ok {
		w.with(with)
	}
	was := w.decides
	for _, key := range keys(m) {
		if key != "withClause" {
			w.decides = was || conditionKeys[key]
			w.walk(m[key])
		}
	}
	w.decides = was
}

// with brings the names of a WITH into scope: each is known to those after it, and with RECURSIVE to all.
func (w *walker) with(m map[string]any) {
	ctes := items(m["ctes"])
	name := func(c any) string { return str(object(object(c)["CommonTableExpr"]), "ctename") }
	if yes(m, "recursive") {
		for _, c := range ctes {
			w.ctes = append(w.ctes, name(c))
		}
	}
	for _, c := range ctes {
		w.from(object(object(c)["CommonTableExpr"]))
		w.walk(object(object(c)["CommonTableExpr"])["ctequery"])
		w.ctes = append(w.ctes, name(c))
	}
}

// named looks at one node.
func (w *walker) named(name string, b map[string]any) {
	if _, ok := statements[name]; ok {
		w.statement(name, b)
		return
	}
	switch name {
	case "RangeVar":
		w.from(b)
		w.relation(b, false)
		return
	case "RangeSubselect", "RangeFunction", "RangeTableFunc":
		w.from(b)
	case "JoinExpr":
		w.from(b)
		if yes(b, "isNatural") {
			w.condition("*")
		}
		for _, column := range strs(b["usingClause"]) {
			w.condition(column)
		}
	case "CommonTableExpr":
		w.from(b)
	case "ResTarget":
		w.result(b)
	case "FuncCall":
		w.call(strs(b["funcname"]), items(b["args"]))
		w.fields(without(b, "funcname"))
		return
	case "A_Expr":
		if op := strs(b["name"]); len(op) > 0 {
			w.st.Operators = add(w.st.Operators, dotted(op))
		}
	case "SubLink":
		if op := strs(b["operName"]); len(op) > 0 {
			w.st.Operators = add(w.st.Operators, dotted(op))
		}
	case "RangeTableSample":
		w.call(strs(b["method"]), nil)
	case "ColumnRef":
		w.column(items(b["fields"]))
		return
	case "IntoClause":
		w.into(b)
		return
	default:
		if !expressions[name] && !w.lenient {
			w.st.Obscure("holds " + name + ", which is not known")
		}
	}
	w.fields(b)
}

// into is SELECT INTO and what CREATE TABLE AS makes.
func (w *walker) into(b map[string]any) {
	w.st.class("write")
	if rel, ok := b["rel"].(map[string]any); ok {
		w.relation(rel, true)
	}
}

func (w *walker) column(fields []any) {
	var parts []string
	for _, f := range fields {
		if s, ok := object(f)["String"]; ok {
			parts = append(parts, str(object(s), "sval"))
		} else {
			parts = append(parts, "*")
		}
	}
	w.st.Columns = add(w.st.Columns, dotted(parts))
	if w.decides {
		w.condition(lastOf(fields))
	}
}

// relation notes a table, view or the like. Only what is read by a bare name can be one of WITH.
func (w *walker) relation(m map[string]any, write bool) {
	var parts []string
	for _, key := range []string{"catalogname", "schemaname", "relname"} {
		if s := str(m, key); s != "" {
			parts = append(parts, s)
		}
	}
	if !write && len(parts) == 1 && slices.Contains(w.ctes, parts[0]) {
		return
	}
	name := dotted(parts)
	if !write {
		w.st.Reads = add(w.st.Reads, name)
		return
	}
	w.st.Writes = add(w.st.Writes, name)
	// Writing to pg_settings changes a setting, and other catalogs mean more than their rows.
	if base := parts[len(parts)-1]; strings.HasPrefix(base, "pg_") || len(parts) > 1 && parts[len(parts)-2] == "pg_catalog" {
		w.st.class("privilege")
		w.st.Settings = add(w.st.Settings, "*")
		w.st.Why = add(w.st.Why, "writes to the catalog "+name)
	}
}

// Small readers of the tree.

func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func items(v any) []any {
	l, _ := v.([]any)
	return l
}

func str(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

func yes(m map[string]any, key string) bool {
	b, _ := m[key].(bool)
	return b
}

// strs are the names of a list of String nodes, which may be a List itself.
func strs(v any) []string {
	if l, ok := object(v)["List"]; ok {
		v = object(l)["items"]
	}
	var out []string
	for _, e := range items(v) {
		out = append(out, str(object(object(e)["String"]), "sval"))
	}
	return out
}

// constant is the text of a string literal, also of one with a cast.
func constant(v any) (string, bool) {
	m := object(v)
	if cast, ok := m["TypeCast"]; ok {
		return constant(object(cast)["arg"])
	}
	c, ok := m["A_Const"]
	if !ok {
		return "", false
	}
	s, ok := object(c)["sval"]
	if !ok {
		return "", false
	}
	return str(object(s), "sval"), true
}

func keys(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func without(m map[string]any, keys ...string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		if !slices.Contains(keys, k) {
			out[k] = v
		}
	}
	return out
}

// has tells whether a node of this name is anywhere in v.
func has(v any, name string) bool {
	switch v := v.(type) {
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return has(e, name) })
	case map[string]any:
		for k, e := range v {
			if k == name || has(e, name) {
				return true
			}
		}
	}
	return false
}
