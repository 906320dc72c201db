package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sallyport-ssh/sallyport/filters/sql"
)

// A catalog is what a database's names mean, as of a moment not long ago. Names are resolved without a
// search path, to everything that they could mean: so nothing that a client sets can make less of them.
type catalog struct {
	target  *Target
	account *account

	mu      sync.Mutex
	at      time.Time
	now     *names
	changed bool // DDL went through since
	called  map[uint32]*function
}

// names is one state of a catalog. It is never changed.
type names struct {
	relations map[string][]*relation // by bare name
	byOID     map[uint32]*relation
	functions map[string]bool // bare names that mean something outside pg_catalog; true: only what is not volatile
	builtin   map[string]bool // of pg_catalog; true: not volatile
	operators map[string]bool // bare names of operators outside pg_catalog
	types     map[uint32]madeType
}

// A relation is a table, view or the like.
type relation struct {
	oid     uint32
	schema  string
	name    string
	kind    byte // of pg_class.relkind
	columns map[int16]*column
	reads   []uint32 // relations that a view is made of
	// protected is set when it has protected columns, or is made of a relation that has.
	protected bool
}

// A column of a relation.
type column struct {
	name    string
	typ     uint32
	style   *style // nil: not protected
	origOID uint32 // of a view's column that is another's: where it comes from
	origNum int16
}

// maxCatalogAge is how old a catalog may be that statements are decided by. What a session of this gate
// changes is known at once.
const maxCatalogAge = 5 * time.Second

// of returns the catalog of a database.
func (t *Target) catalog(database string) (*catalog, error) {
	a, err := t.in(database)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.catalogs[database]
	if c == nil {
		c = &catalog{target: t, account: a}
		t.catalogs[database] = c
	}
	return c, nil
}

// names returns the current state.
func (c *catalog) names(ctx context.Context) (*names, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now != nil && !c.changed && time.Since(c.at) < maxCatalogAge {
		return c.now, nil
	}
	changed := c.changed
	c.changed = false
	n, err := c.read(ctx)
	if err != nil {
		c.changed = changed
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	c.now, c.at = n, time.Now()
	return n, nil
}

// stale makes the next look a fresh one.
func (c *catalog) stale() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed = true
}

// The catalog's queries; system relations are left out but for those that hold users' values.
const (
	queryRelations = `SELECT c.oid, n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r','v','m','p','f') AND (n.nspname NOT IN ('pg_catalog','information_schema','pg_toast')
			OR c.relname IN ('pg_statistic','pg_stats','pg_stats_ext','pg_stats_ext_exprs','pg_statistic_ext_data'))`
	queryColumns = `SELECT a.attrelid, a.attnum, a.attname, a.atttypid FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		JOIN pg_namespace n ON n.oid = c.relnamespace WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r','v','m','p','f')
		AND (n.nspname NOT IN ('pg_catalog','information_schema','pg_toast')
			OR c.relname IN ('pg_statistic','pg_stats','pg_stats_ext','pg_stats_ext_exprs','pg_statistic_ext_data'))`
	queryParents = `SELECT inhrelid, inhparent FROM pg_inherits`
	queryViews   = `SELECT r.ev_class, r.ev_action FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
		JOIN pg_namespace n ON n.oid = c.relnamespace WHERE r.ev_type = '1' AND c.relkind IN ('v','m')
		AND (n.nspname NOT IN ('pg_catalog','information_schema') OR c.relname IN ('pg_stats','pg_stats_ext','pg_stats_ext_exprs'))`
	queryDepends = `SELECT DISTINCT r.ev_class, d.refobjid FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
		WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class`
	queryFunctions = `SELECT proname, bool_and(provolatile <> 'v'), pronamespace = 'pg_catalog'::regnamespace FROM pg_proc
		WHERE pronamespace <> 'information_schema'::regnamespace GROUP BY 1, 3`
	queryOperators = `SELECT DISTINCT oprname FROM pg_operator WHERE oprnamespace <> 'pg_catalog'::regnamespace`
)

// read asks for everything in one snapshot, so that the parts fit.
func (c *catalog) read(ctx context.Context) (*names, error) {
	n := &names{relations: map[string][]*relation{}, byOID: map[uint32]*relation{}, functions: map[string]bool{},
		builtin: map[string]bool{}, operators: map[string]bool{}, types: map[uint32]madeType{}}
	var parents [][2]uint32
	readers := []func(row [][]byte){
		func([][]byte) {},
		n.addRelation, n.addColumn,
		func(row [][]byte) { parents = append(parents, [2]uint32{oid(row[0]), oid(row[1])}) },
		n.addView, n.addDependency,
		func(row [][]byte) {
			to := n.functions
			if string(row[2]) == "t" {
				to = n.builtin
			}
			to[string(row[0])] = string(row[1]) == "t"
		},
		func(row [][]byte) { n.operators[string(row[0])] = true },
		n.addType,
		func([][]byte) {},
	}
	text := strings.Join([]string{"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", queryRelations, queryColumns, queryParents,
		queryViews, queryDepends, queryFunctions, queryOperators, queryTypes, "COMMIT"}, ";")
	i := 0
	err := c.account.run(ctx, text, func(r *pgconn.Result) {
		for _, row := range r.Rows {
			readers[i](row)
		}
		i++
	})
	if err != nil {
		return nil, err
	}
	n.protect(c.target.c.Protected, parents)
	return n, nil
}

func (n *names) addRelation(row [][]byte) {
	r := &relation{oid: oid(row[0]), schema: string(row[1]), name: string(row[2]), kind: row[3][0], columns: map[int16]*column{}}
	n.relations[r.name] = append(n.relations[r.name], r)
	n.byOID[r.oid] = r
}

func (n *names) addColumn(row [][]byte) {
	if r := n.byOID[oid(row[0])]; r != nil {
		r.columns[int16(oid(row[1]))] = &column{name: string(row[2]), typ: oid(row[3])}
	}
}

func (n *names) addView(row [][]byte) {
	r := n.byOID[oid(row[0])]
	if r == nil {
		return
	}
	for num, orig := range viewOrigins(string(row[1])) {
		if c := r.columns[num]; c != nil {
			c.origOID, c.origNum = orig.oid, orig.num
		}
	}
}

func (n *names) addDependency(row [][]byte) {
	if r := n.byOID[oid(row[0])]; r != nil {
		r.reads = append(r.reads, oid(row[1]))
	}
}

func oid(text []byte) uint32 {
	v, _ := strconv.ParseInt(string(text), 10, 64)
	return uint32(v)
}

// systemProtected hold values of users' columns. PostgreSQL keeps no dependencies of its own views, so those
// are named too.
var systemProtected = []Protected{
	{"pg_catalog.pg_statistic", "stavalues1", "null"}, {"pg_catalog.pg_statistic", "stavalues2", "null"},
	{"pg_catalog.pg_statistic", "stavalues3", "null"}, {"pg_catalog.pg_statistic", "stavalues4", "null"},
	{"pg_catalog.pg_statistic", "stavalues5", "null"}, {"pg_catalog.pg_statistic_ext_data", "stxdmcv", "null"},
	{"pg_catalog.pg_statistic_ext_data", "stxdexpr", "null"}, {"pg_catalog.pg_stats", "most_common_vals", "null"},
	{"pg_catalog.pg_stats", "histogram_bounds", "null"}, {"pg_catalog.pg_stats", "most_common_elems", "null"},
	{"pg_catalog.pg_stats_ext", "most_common_vals", "null"}, {"pg_catalog.pg_stats_ext_exprs", "most_common_vals", "null"},
	{"pg_catalog.pg_stats_ext_exprs", "histogram_bounds", "null"}, {"pg_catalog.pg_stats_ext_exprs", "most_common_elems", "null"},
}

// protect marks what is protected: the columns that were named, the same columns of partitions and children,
// columns of views that come from them, and of views that are made of them those whose origin is not known.
func (n *names) protect(named []Protected, parents [][2]uint32) {
	if len(named) == 0 {
		return
	}
	for _, p := range append(slices.Clone(systemProtected), named...) {
		for _, r := range n.lookup(p.Relation) {
			for _, c := range r.columns {
				if c.name == p.Column || p.Column == "*" {
					c.style, _ = parseStyle(p.Style) // checked by New
					r.protected = true
				}
			}
		}
	}
	for more := true; more; { // until nothing is added: levels of inheritance and of views
		more = false
		for _, pair := range parents {
			more = n.inherit(n.byOID[pair[0]], n.byOID[pair[1]]) || more
		}
		for _, r := range n.byOID {
			if r.kind == 'v' || r.kind == 'm' {
				more = n.derive(r) || more
			}
		}
	}
}

// inherit protects in a child what is protected in its parent, and a parent whose child is: it shows both.
func (n *names) inherit(child, parent *relation) bool {
	if child == nil || parent == nil {
		return false
	}
	more := false
	for _, pair := range [][2]*relation{{child, parent}, {parent, child}} {
		to, from := pair[0], pair[1]
		for _, f := range from.columns {
			for _, c := range to.columns {
				if f.style != nil && c.style == nil && c.name == f.name {
					c.style, to.protected, more = f.style, true, true
				}
			}
		}
	}
	return more
}

// derive protects columns of a view.
func (n *names) derive(v *relation) bool {
	touches := slices.ContainsFunc(v.reads, func(o uint32) bool { r := n.byOID[o]; return r != nil && r.protected })
	if !touches {
		return false
	}
	more := !v.protected
	v.protected = true
	for _, c := range v.columns {
		if c.style != nil {
			continue
		}
		if from := n.byOID[c.origOID]; from != nil {
			if orig := from.columns[c.origNum]; orig != nil {
				if orig.style != nil {
					c.style, more = orig.style, true
				}
				continue
			}
		}
		c.style, more = &wholeStyle, true
	}
	return more
}

// lookup finds what a name as written could mean: schema.name, or name in any schema.
func (n *names) lookup(written string) []*relation {
	parts := undot(written)
	found := n.relations[parts[len(parts)-1]]
	if len(parts) == 1 {
		return found
	}
	schema := parts[len(parts)-2]
	var out []*relation
	for _, r := range found {
		if r.schema == schema || schema == "pg_temp" {
			out = append(out, r)
		}
	}
	return out
}

// closure adds to out every relation that r is made of, r first.
func (n *names) closure(r *relation, out map[uint32]*relation) {
	if r == nil || out[r.oid] != nil {
		return
	}
	out[r.oid] = r
	for _, o := range r.reads {
		n.closure(n.byOID[o], out)
	}
}

// undot undoes what filters/sql does to names.
func undot(name string) []string {
	var parts []string
	var part strings.Builder
	quoted := false
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '"' && quoted && i+1 < len(name) && name[i+1] == '"':
			part.WriteByte('"')
			i++
		case c == '"':
			quoted = !quoted
		case c == '.' && !quoted:
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(c)
		}
	}
	return append(parts, part.String())
}

// A meaning is what the catalog adds to the facts of a statement.
type meaning struct {
	relations []string // schema.name of everything that it may touch, views followed
	protected bool     // some of these are protected, or it cannot be told
	opaque    []string // why nobody can tell what it does; empty: it is understood
	infers    []string // protected columns that tell, by which rows come back
}

// explain works out what s may touch. Guarded says that there are protected columns at all.
func (n *names) explain(s *sql.Statement, guarded bool) meaning {
	var m meaning
	all := map[uint32]*relation{}
	for _, name := range s.Relations() {
		for _, r := range n.lookup(name) {
			n.closure(r, all)
		}
	}
	for _, r := range all {
		m.relations = append(m.relations, dot(r.schema, r.name))
		m.protected = m.protected || r.protected
	}
	slices.Sort(m.relations)
	if len(s.Conditions) > 0 && m.protected {
		m.infers = inferred(all, s.Conditions)
	}
	if s.Opaque {
		m.opaque = append(m.opaque, s.Why...)
	}
	for _, f := range s.Functions {
		if why := n.function(f, slices.Contains(s.Unknown, f)); why != "" {
			m.opaque = append(m.opaque, why)
		}
	}
	for _, o := range s.Operators {
		parts := undot(o)
		if base := parts[len(parts)-1]; n.operators[base] && !(len(parts) == 2 && parts[0] == "pg_catalog") {
			m.opaque = append(m.opaque, "the operator "+base+" may be one that somebody made")
		}
	}
	m.protected = guarded && (m.protected || s.Opaque || len(m.opaque) > 0)
	return m
}

// inferred are the protected columns, as schema.table.column, among those that decide on which rows come back. A name
// counts for every column that is called so.
func inferred(all map[uint32]*relation, conditions []string) []string {
	var out []string
	any := slices.Contains(conditions, "*")
	for _, r := range all {
		for _, c := range r.columns {
			if c.style != nil && (any || slices.Contains(conditions, c.name)) {
				out = append(out, dot(r.schema, r.name)+"."+c.name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// function says why a call of a function is opaque, or "".
func (n *names) function(written string, unknown bool) string {
	parts := undot(written)
	base := parts[len(parts)-1]
	own := len(parts) == 1 || len(parts) == 2 && parts[0] == "pg_catalog"
	_, made := n.functions[base]
	switch {
	case made && !(len(parts) == 2 && parts[0] == "pg_catalog"):
		return "the function " + written + " is one that somebody made"
	case unknown && !(own && n.builtin[base]):
		return "nothing is known of the function " + written
	}
	return ""
}

func dot(schema, name string) string {
	for _, p := range []*string{&schema, &name} {
		if strings.ContainsAny(*p, `."`) {
			*p = `"` + strings.ReplaceAll(*p, `"`, `""`) + `"`
		}
	}
	return schema + "." + name
}
