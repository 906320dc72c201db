package sql

import (
	"slices"
	"strings"
)

// What rows come back, in which order and how many tells of the columns that were asked for it, whether they are shown
// or not. Conditions are those columns: everything that is used outside of the lists of what is selected, and what is
// compared by DISTINCT, UNION and their like. Names that are given on the way (WITH, subqueries, AS) stand for what is
// behind them; where that cannot be told by names alone, it is "*", all columns.

// conditionKeys are the parts of nodes in which a column decides, whatever they are part of.
var conditionKeys = words(`whereClause havingClause quals sortClause groupClause distinctClause windowClause limitCount limitOffset
	joinCondition agg_filter agg_order over usingClause condition functions partitionClause orderClause`)

// unnamed are names that PostgreSQL gives to results of expressions without one (FigureColname), besides those of
// functions and types.
var unnamed = strings.Fields("case coalesce nullif greatest least array row exists xmlconcat xmlelement xmlforest xmlparse xmlpi xmlroot xmlserialize grouping")

// stands notes that a column called name is made of what is in v.
func (w *walker) stands(name string, v any) {
	if w.behind == nil {
		w.behind = map[string][]string{}
	}
	w.behind[name] = append(w.behind[name], columnsIn(v)...)
}

// columnsIn are the last parts of the names of all columns in v.
func columnsIn(v any) []string {
	var out []string
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			out = append(out, columnsIn(e)...)
		}
	case map[string]any:
		if ref, ok := v["ColumnRef"]; ok {
			return []string{lastOf(items(object(ref)["fields"]))}
		}
		for _, key := range keys(v) {
			out = append(out, columnsIn(v[key])...)
		}
	}
	return out
}

// lastOf is the column's own name in a reference to it; "*" for all.
func lastOf(fields []any) string {
	if len(fields) == 0 {
		return "*"
	}
	if s, ok := object(fields[len(fields)-1])["String"]; ok {
		return str(object(s), "sval")
	}
	return "*"
}

// condition notes a column that decides.
func (w *walker) condition(name string) { w.st.Conditions = add(w.st.Conditions, name) }

// result is one of a list of what is selected: its name stands for what it is made of.
func (w *walker) result(b map[string]any) {
	val := b["val"]
	if name := str(b, "name"); name != "" {
		w.stands(name, val)
		return
	}
	if _, plain := object(val)["ColumnRef"]; plain {
		return
	}
	for _, name := range append(namesIn(val), unnamed...) {
		w.stands(name, val)
	}
}

// namesIn are the names of functions and types in v, which a result without a name may be called by.
func namesIn(v any) []string {
	var out []string
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			out = append(out, namesIn(e)...)
		}
	case map[string]any:
		for _, key := range []string{"funcname", "names"} {
			if parts := strs(v[key]); len(parts) > 0 {
				out = append(out, parts[len(parts)-1])
			}
		}
		for _, key := range keys(v) {
			out = append(out, namesIn(v[key])...)
		}
	}
	return out
}

// from notes names that stand for whole rows, and lists of names that are given to columns by their place.
func (w *walker) from(b map[string]any) {
	alias := object(b["alias"])
	for _, name := range []string{str(b, "relname"), str(alias, "aliasname")} {
		if name != "" {
			w.rows = add(w.rows, name)
		}
	}
	for _, name := range append(strs(alias["colnames"]), strs(b["aliascolnames"])...) {
		w.stands(name, nil)
		w.behind[name] = append(w.behind[name], "*")
	}
}

// compares tells what of a SELECT decides besides its conditions: what DISTINCT, UNION and their like compare, and what
// ORDER BY 2 points to.
func (w *walker) compares(b map[string]any) bool {
	op := str(b, "op")
	union := op != "" && op != "SETOP_NONE" && !(op == "SETOP_UNION" && yes(b, "all"))
	return union || b["distinctClause"] != nil || points(b["sortClause"]) || points(b["groupClause"])
}

// points tells whether a list of what is sorted or grouped by has a number for a column.
func points(list any) bool {
	for _, e := range items(list) {
		m := object(e)
		if by, ok := m["SortBy"]; ok {
			m = object(object(by)["node"])
		}
		if _, ok := m["A_Const"]; ok {
			return true
		}
		if _, ok := m["GroupingSet"]; ok {
			return true
		}
	}
	return false
}

// settle puts columns in the place of the names that stand for them.
func (w *walker) settle() {
	st := w.st
	for i := 0; i < len(st.Conditions); i++ { // it grows
		name := st.Conditions[i]
		if slices.Contains(w.rows, name) {
			w.condition("*")
		}
		for _, behind := range w.behind[name] {
			w.condition(behind)
		}
	}
	st.Conditions = sorted(st.Conditions)
}
