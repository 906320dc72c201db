package sql

import (
	"fmt"
	"strings"
)

// A kind is what a statement's node is by itself.
type kind struct {
	action  string
	verb    string
	classes []string
	read    func(*walker, map[string]any) // nil: all relations in it are written to
}

// statements are the nodes that PostgreSQL's grammar, version 17, has for statements.
var statements map[string]kind

func init() { // the readers walk, and walking looks into the table
	read, write := []string{"read"}, []string{"write"}
	statements = map[string]kind{
		"SelectStmt": {"sql:select", "SELECT", read, (*walker).query},
		"InsertStmt": {"sql:insert", "INSERT", write, (*walker).insert},
		"UpdateStmt": {"sql:update", "UPDATE", write, (*walker).change},
		"DeleteStmt": {"sql:delete", "DELETE", write, (*walker).change},
		"MergeStmt":  {"sql:merge", "MERGE", write, (*walker).change},
		"CopyStmt":   {"sql:copy", "COPY", nil, (*walker).copy},

		"ExplainStmt":        {"sql:explain", "EXPLAIN", read, (*walker).explain},
		"VariableShowStmt":   {"sql:show", "SHOW", read, func(w *walker, b map[string]any) { w.st.Name = strings.ToLower(str(b, "name")) }},
		"VariableSetStmt":    {"sql:session", "SET", read, (*walker).set},
		"DiscardStmt":        {"sql:session", "DISCARD", read, (*walker).discard},
		"ConstraintsSetStmt": {"sql:session", "SET CONSTRAINTS", read, func(*walker, map[string]any) {}},
		"TransactionStmt":    {"sql:transaction", "", read, (*walker).transaction},
		"PrepareStmt":        {"sql:prepare", "PREPARE", read, (*walker).prepare},
		"ExecuteStmt":        {"sql:prepare", "EXECUTE", read, (*walker).named1},
		"DeallocateStmt":     {"sql:prepare", "DEALLOCATE", read, (*walker).named1},
		"DeclareCursorStmt":  {"sql:cursor", "DECLARE", read, (*walker).declare},
		"FetchStmt":          {"sql:cursor", "FETCH", read, (*walker).named1},
		"ClosePortalStmt":    {"sql:cursor", "CLOSE", read, (*walker).named1},
		"LockStmt":           {"sql:lock", "LOCK", write, (*walker).fields},
		"NotifyStmt":         {"sql:notify", "NOTIFY", write, (*walker).fields},
		"ListenStmt":         {"sql:notify", "LISTEN", read, (*walker).fields},
		"UnlistenStmt":       {"sql:notify", "UNLISTEN", read, (*walker).fields},
		"CallStmt":           {"sql:call", "CALL", write, (*walker).procedure},
		"DoStmt":             {"sql:do", "DO", write, (*walker).do},
		"LoadStmt":           {"sql:other", "LOAD", []string{"privilege", "persistence"}, (*walker).fields},
		"TruncateStmt":       {"sql:truncate", "TRUNCATE", []string{"write", "destructive"}, nil},
		"DropStmt":           {"sql:drop", "DROP", []string{"write", "destructive"}, (*walker).drop},

		"GrantStmt":                  {"sql:grant", "GRANT", []string{"privilege"}, nil},
		"GrantRoleStmt":              {"sql:grant", "GRANT", []string{"privilege"}, nil},
		"AlterDefaultPrivilegesStmt": {"sql:grant", "ALTER DEFAULT PRIVILEGES", []string{"privilege"}, nil},
		"AlterSystemStmt":            {"sql:alter", "ALTER SYSTEM", []string{"privilege", "persistence"}, nil},
		"VacuumStmt":                 {"sql:maintain", "VACUUM", write, nil},
		"ClusterStmt":                {"sql:maintain", "CLUSTER", write, nil},
		"ReindexStmt":                {"sql:maintain", "REINDEX", write, nil},
		"CheckPointStmt":             {"sql:maintain", "CHECKPOINT", write, nil},
		"RefreshMatViewStmt":         {"sql:maintain", "REFRESH", write, nil},
		"DropOwnedStmt":              {"sql:drop", "DROP OWNED", []string{"write", "destructive", "privilege"}, nil},
		"ReassignOwnedStmt":          {"sql:alter", "REASSIGN OWNED", []string{"privilege"}, nil},
		"CreateTableAsStmt":          {"sql:create", "CREATE TABLE AS", write, (*walker).createAs},
		"CreateRoleStmt":             {"sql:create", "CREATE ROLE", []string{"privilege"}, nil},
		"CreateFunctionStmt":         {"sql:create", "CREATE FUNCTION", []string{"write", "persistence"}, nil},
		"CreateTrigStmt":             {"sql:create", "CREATE TRIGGER", []string{"write", "persistence"}, nil},
		"CreateEventTrigStmt":        {"sql:create", "CREATE EVENT TRIGGER", []string{"privilege", "persistence"}, nil},
		"RuleStmt":                   {"sql:create", "CREATE RULE", []string{"write", "persistence"}, nil},
		"CreatePolicyStmt":           {"sql:create", "CREATE POLICY", []string{"privilege"}, nil},
		"CreateExtensionStmt":        {"sql:create", "CREATE EXTENSION", []string{"privilege", "persistence"}, nil},
		"CreatePLangStmt":            {"sql:create", "CREATE LANGUAGE", []string{"privilege", "persistence"}, nil},
		"CreateFdwStmt":              {"sql:create", "CREATE FOREIGN DATA WRAPPER", []string{"privilege", "exfiltration"}, nil},
		"CreateForeignServerStmt":    {"sql:create", "CREATE SERVER", []string{"privilege", "exfiltration"}, nil},
		"CreateForeignTableStmt":     {"sql:create", "CREATE FOREIGN TABLE", []string{"write", "exfiltration"}, nil},
		"CreateUserMappingStmt":      {"sql:create", "CREATE USER MAPPING", []string{"privilege", "exfiltration"}, nil},
		"ImportForeignSchemaStmt":    {"sql:create", "IMPORT FOREIGN SCHEMA", []string{"write", "exfiltration"}, nil},
		"CreatePublicationStmt":      {"sql:create", "CREATE PUBLICATION", []string{"privilege", "exfiltration"}, nil},
		"CreateSubscriptionStmt":     {"sql:create", "CREATE SUBSCRIPTION", []string{"privilege", "exfiltration", "persistence"}, nil},
		"CreateCastStmt":             {"sql:create", "CREATE CAST", []string{"write", "persistence"}, nil},
		"CreateTransformStmt":        {"sql:create", "CREATE TRANSFORM", []string{"privilege", "persistence"}, nil},
		"CreatedbStmt":               {"sql:create", "CREATE DATABASE", []string{"privilege"}, nil},
		"CreateTableSpaceStmt":       {"sql:create", "CREATE TABLESPACE", []string{"privilege"}, nil},
		"DropRoleStmt":               {"sql:drop", "DROP ROLE", []string{"destructive", "privilege"}, nil},
		"DropdbStmt":                 {"sql:drop", "DROP DATABASE", []string{"destructive", "privilege"}, nil},
		"DropTableSpaceStmt":         {"sql:drop", "DROP TABLESPACE", []string{"destructive", "privilege"}, nil},
		"DropSubscriptionStmt":       {"sql:drop", "DROP SUBSCRIPTION", []string{"destructive", "privilege"}, nil},
		"DropUserMappingStmt":        {"sql:drop", "DROP USER MAPPING", []string{"privilege"}, nil},
		"AlterRoleStmt":              {"sql:alter", "ALTER ROLE", []string{"privilege"}, nil},
		"AlterRoleSetStmt":           {"sql:alter", "ALTER ROLE", []string{"privilege", "persistence"}, nil},
		"AlterOwnerStmt":             {"sql:alter", "ALTER OWNER", []string{"privilege"}, nil},
		"AlterPolicyStmt":            {"sql:alter", "ALTER POLICY", []string{"privilege"}, nil},
		"AlterSubscriptionStmt":      {"sql:alter", "ALTER SUBSCRIPTION", []string{"privilege", "exfiltration"}, nil},
		"AlterPublicationStmt":       {"sql:alter", "ALTER PUBLICATION", []string{"privilege", "exfiltration"}, nil},
		"AlterForeignServerStmt":     {"sql:alter", "ALTER SERVER", []string{"privilege", "exfiltration"}, nil},
		"AlterFdwStmt":               {"sql:alter", "ALTER FOREIGN DATA WRAPPER", []string{"privilege", "exfiltration"}, nil},
		"AlterUserMappingStmt":       {"sql:alter", "ALTER USER MAPPING", []string{"privilege", "exfiltration"}, nil},
		"AlterEventTrigStmt":         {"sql:alter", "ALTER EVENT TRIGGER", []string{"privilege"}, nil},
		"AlterDatabaseStmt":          {"sql:alter", "ALTER DATABASE", []string{"privilege"}, nil},
		"AlterDatabaseSetStmt":       {"sql:alter", "ALTER DATABASE", []string{"privilege", "persistence"}, nil},
		"AlterFunctionStmt":          {"sql:alter", "ALTER FUNCTION", []string{"write", "persistence"}, nil},
		"SecLabelStmt":               {"sql:alter", "SECURITY LABEL", []string{"privilege"}, nil},
	}
	for verb, names := range map[string]string{
		"create": `CreateSchemaStmt CreateStmt CreateAmStmt CreateSeqStmt DefineStmt CreateDomainStmt CreateOpClassStmt
			CreateOpFamilyStmt IndexStmt CreateStatsStmt CompositeTypeStmt CreateEnumStmt CreateRangeStmt ViewStmt
			CreateConversionStmt`,
		"alter": `AlterTableStmt AlterDomainStmt AlterTableSpaceOptionsStmt AlterTableMoveAllStmt AlterExtensionStmt
			AlterExtensionContentsStmt AlterSeqStmt AlterOpFamilyStmt AlterStatsStmt RenameStmt AlterObjectDependsStmt
			AlterObjectSchemaStmt AlterOperatorStmt AlterTypeStmt AlterEnumStmt AlterDatabaseRefreshCollStmt
			AlterTSDictionaryStmt AlterTSConfigurationStmt AlterCollationStmt ReplicaIdentityStmt CommentStmt`,
	} {
		for _, n := range strings.Fields(names) {
			statements[n] = kind{"sql:" + verb, strings.ToUpper(verb), write, nil}
		}
	}
}

// rank orders actions: of a statement with several, the highest is what is decided on.
var rank = map[string]int{"": 0, "sql:show": 1, "sql:select": 2, "sql:copy": 2, "sql:cursor": 2, "sql:insert": 3, "sql:update": 4, "sql:merge": 5, "sql:delete": 6}

// statement notes one statement's node, at the top or inside another.
func (w *walker) statement(name string, b map[string]any) {
	k, ok := statements[name]
	if !ok {
		w.st.Obscure("is " + name + ", which is not known")
		return
	}
	if top := w.st.Action == ""; top {
		w.st.Action, w.st.Verb = k.action, k.verb
	} else if name == "ExecuteStmt" {
		w.st.Obscure("runs a prepared statement inside another")
	} else if r, ok := rank[w.st.Action]; ok && rank[k.action] > r {
		w.st.Action, w.st.Verb = k.action, k.verb
	}
	w.st.class(k.classes...)
	if k.read != nil {
		k.read(w, b)
		return
	}
	before := w.st.Reads
	was := w.lenient
	w.lenient = true
	w.st.Reads = nil
	w.fields(b)
	w.st.Writes = append(w.st.Writes, w.st.Reads...)
	w.st.Reads = before
	w.lenient = was
}

// query is SELECT, VALUES, TABLE, and the parts of UNION.
func (w *walker) query(b map[string]any) {
	if _, ok := b["intoClause"]; ok && rank[w.st.Action] <= rank["sql:select"] {
		w.st.Action, w.st.Verb = "sql:create", "SELECT INTO"
	}
	if into, ok := b["intoClause"].(map[string]any); ok {
		w.into(into)
	}
	w.st.Locks = w.st.Locks || b["lockingClause"] != nil
	was := w.decides
	w.decides = was || w.compares(b)
	w.fields(without(b, "intoClause"))
	w.decides = was
}

// createAs is CREATE TABLE AS and CREATE MATERIALIZED VIEW.
func (w *walker) createAs(b map[string]any) {
	w.into(object(b["into"]))
	w.fields(without(b, "into"))
}

// insert writes to its relation, which no WITH can stand for.
func (w *walker) insert(b map[string]any) {
	rel := object(b["relation"])
	w.from(rel)
	w.relation(rel, true)
	if b["returningList"] != nil || b["onConflictClause"] != nil {
		w.target(rel)
	}
	w.fields(without(b, "relation"))
}

// change is UPDATE, DELETE and MERGE, which read what they change.
func (w *walker) change(b map[string]any) {
	rel := object(b["relation"])
	w.from(rel)
	w.relation(rel, true)
	w.target(rel)
	if !bounded(b) {
		w.st.Unbounded = true
	}
	w.fields(without(b, "relation"))
}

// target notes that the relation of a change is read too, whatever WITH calls so.
func (w *walker) target(rel map[string]any) {
	ctes := w.ctes
	w.ctes = nil
	w.relation(rel, false)
	w.ctes = ctes
}

// bounded tells whether a condition looks at the rows at all: WHERE true, or 1 = 1, bounds nothing.
func bounded(b map[string]any) bool {
	if _, merge := b["mergeWhenClauses"]; merge {
		return has(b["joinCondition"], "ColumnRef") && !sameOnBothSides(b["joinCondition"])
	}
	where := b["whereClause"]
	return where != nil && (has(where, "ColumnRef") || has(where, "CurrentOfExpr")) && !sameOnBothSides(where)
}

// sameOnBothSides knows id = id and its like.
func sameOnBothSides(v any) bool {
	e := object(object(v)["A_Expr"])
	l, r := object(object(e["lexpr"])["ColumnRef"]), object(object(e["rexpr"])["ColumnRef"])
	return l != nil && r != nil && fmt.Sprint(l["fields"]) == fmt.Sprint(r["fields"])
}

// copy is COPY both ways, to and from the client, files and programs.
func (w *walker) copy(b map[string]any) {
	from := yes(b, "is_from")
	w.st.class(map[bool]string{true: "write", false: "read"}[from])
	if rel, ok := b["relation"].(map[string]any); ok {
		w.relation(rel, from)
	}
	switch {
	case yes(b, "is_program"):
		w.st.Program = true
		w.st.class("privilege", "exfiltration")
		w.st.Why = add(w.st.Why, "runs a program on the server")
	case str(b, "filename") != "":
		w.st.File = true
		w.st.class("privilege", "exfiltration")
		w.st.Why = add(w.st.Why, "reaches a file of the server")
	case from:
		w.st.CopyIn = true
	default:
		w.st.CopyOut = copyOut(b)
		if w.st.CopyOut == nil {
			w.st.Obscure("copies in a form that is not known")
		}
	}
	w.walk(b["query"])
	w.walk(b["whereClause"])
}

// copyOut reads the options, or returns nil.
func copyOut(b map[string]any) *Copy {
	c := &Copy{Format: "text", Columns: strs(b["attlist"])}
	if rel, ok := b["relation"].(map[string]any); ok {
		c.Relation = str(rel, "relname")
		if s := str(rel, "schemaname"); s != "" {
			c.Relation = dotted([]string{s, c.Relation})
		}
	}
	for _, o := range items(b["options"]) {
		o := object(object(o)["DefElem"])
		value := str(object(object(o["arg"])["String"]), "sval")
		switch strings.ToLower(str(o, "defname")) {
		case "format":
			c.Format = strings.ToLower(value)
		case "delimiter":
			c.Delimiter = value
		case "null":
			c.Null = value
		case "quote":
			c.Quote = value
		case "escape":
			c.Escape = value
		case "header":
			c.Header = header(o["arg"], value)
		case "encoding":
			if e := strings.ToLower(value); e != "utf8" && e != "utf-8" {
				return nil
			}
		case "force_quote", "freeze", "default", "on_error", "log_verbosity":
		default:
			return nil
		}
	}
	if c.Format != "text" && c.Format != "csv" && c.Format != "binary" {
		return nil
	}
	return c
}

// header is true for HEADER, HEADER true, on, 1 and match.
func header(arg any, value string) bool {
	if arg == nil {
		return true
	}
	if i, ok := object(arg)["Integer"]; ok {
		return object(i)["ival"] != nil
	}
	switch strings.ToLower(value) {
	case "false", "off", "0", "no":
		return false
	}
	return true
}

// explain is EXPLAIN: with ANALYZE it runs what it explains.
func (w *walker) explain(b map[string]any) {
	inner := statement(object(b["query"]))
	w.st.Inner = &inner
	runs := false
	for _, o := range items(b["options"]) {
		o := object(object(o)["DefElem"])
		if strings.EqualFold(str(o, "defname"), "analyze") {
			runs = header(o["arg"], str(object(object(o["arg"])["String"]), "sval"))
		}
	}
	verb := w.st.Verb
	if runs {
		settings := w.st.Settings
		*w.st = inner
		w.st.Inner, w.st.Verb, w.st.Settings = &inner, verb+" ANALYZE "+inner.Verb, append(settings, inner.Settings...)
		w.st.CopyOut = nil
		return
	}
	w.st.Reads, w.st.Columns, w.st.Conditions = append(inner.Reads, inner.Writes...), inner.Columns, inner.Conditions
	w.st.Functions, w.st.Operators, w.st.Unknown = inner.Functions, inner.Operators, inner.Unknown
	w.st.Opaque, w.st.Why = inner.Opaque, inner.Why
	w.st.File = inner.File
	for _, c := range inner.Classes {
		// The planner works out what does not change, so a call may happen all the same.
		if c != "write" && c != "destructive" {
			w.st.class(c)
		}
	}
}

// set is SET and RESET.
func (w *walker) set(b map[string]any) {
	name := str(b, "name")
	switch str(b, "kind") {
	case "VAR_RESET_ALL":
		w.st.Verb = "RESET"
		w.st.Settings = add(w.st.Settings, "*")
	case "VAR_RESET":
		w.st.Verb = "RESET"
		w.setting(name)
	case "VAR_SET_MULTI":
		w.setting(strings.ReplaceAll(name, " ", "_"))
		for _, o := range items(b["args"]) {
			if n := str(object(object(o)["DefElem"]), "defname"); n != "" {
				w.setting(n)
			}
		}
	case "VAR_SET_VALUE", "VAR_SET_DEFAULT", "VAR_SET_CURRENT":
		w.setting(name)
	default:
		w.st.Obscure("sets something in a way that is not known")
	}
	switch {
	case strings.EqualFold(name, "transaction_read_only"):
		w.mode(items(b["args"]))
	case name == "TRANSACTION":
		w.modes(b["args"])
	}
}

// modes looks for READ ONLY and READ WRITE among the modes of a transaction.
func (w *walker) modes(options any) {
	for _, o := range items(options) {
		if o := object(object(o)["DefElem"]); str(o, "defname") == "transaction_read_only" {
			w.mode([]any{o["arg"]})
		}
	}
}

// mode notes what a transaction is made to be. What does not plainly say read only may make it one that writes.
func (w *walker) mode(value []any) {
	w.st.Mode = "read write"
	if len(value) == 1 {
		c := object(object(value[0])["A_Const"])
		text, _ := constant(value[0])
		if object(c["ival"])["ival"] == float64(1) || strings.EqualFold(text, "on") || strings.EqualFold(text, "true") {
			w.st.Mode = "read only"
			return
		}
	}
	w.st.class("write")
	w.st.Why = add(w.st.Why, "makes the transaction one that may write")
}

func (w *walker) discard(b map[string]any) {
	if t := str(b, "target"); t == "DISCARD_ALL" || t == "" {
		w.st.Settings = add(w.st.Settings, "*")
		w.st.Transaction = "discard"
	}
}

// transactions are the kinds of TransactionStmt.
var transactions = map[string][2]string{
	"TRANS_STMT_BEGIN": {"begin", "BEGIN"}, "TRANS_STMT_START": {"begin", "START TRANSACTION"},
	"TRANS_STMT_COMMIT": {"commit", "COMMIT"}, "TRANS_STMT_ROLLBACK": {"rollback", "ROLLBACK"},
	"TRANS_STMT_SAVEPOINT": {"savepoint", "SAVEPOINT"}, "TRANS_STMT_RELEASE": {"release", "RELEASE"},
	"TRANS_STMT_ROLLBACK_TO": {"rollback to", "ROLLBACK TO"}, "TRANS_STMT_PREPARE": {"prepare", "PREPARE TRANSACTION"},
	"TRANS_STMT_COMMIT_PREPARED": {"commit prepared", "COMMIT PREPARED"}, "TRANS_STMT_ROLLBACK_PREPARED": {"rollback prepared", "ROLLBACK PREPARED"},
}

func (w *walker) transaction(b map[string]any) {
	t, ok := transactions[str(b, "kind")]
	if !ok {
		w.st.Obscure("is a transaction statement that is not known")
	}
	w.st.Transaction, w.st.Verb = t[0], t[1]
	switch t[0] {
	case "prepare", "commit prepared", "rollback prepared":
		w.st.class("write", "persistence")
	}
	w.modes(b["options"])
	// What a transaction set ends with it.
	w.st.Settings = add(w.st.Settings, "*")
}

// prepare is PREPARE name AS: nothing of it happens before EXECUTE.
func (w *walker) prepare(b map[string]any) {
	inner := statement(object(b["query"]))
	w.st.Name, w.st.Inner = str(b, "name"), &inner
	w.st.Reads = append(inner.Reads, inner.Writes...)
	w.st.Columns, w.st.Functions, w.st.Operators = inner.Columns, inner.Functions, inner.Operators
}

// named1 is EXECUTE, DEALLOCATE, FETCH, MOVE and CLOSE, which name something made before.
func (w *walker) named1(b map[string]any) {
	w.st.Name = str(b, "name") + str(b, "portalname")
	if yes(b, "ismove") {
		w.st.Verb = "MOVE"
	}
	w.walk(b["params"])
}

// declare is DECLARE name CURSOR FOR: what FETCH will run is what it says.
func (w *walker) declare(b map[string]any) {
	inner := statement(object(b["query"]))
	*w.st = inner
	w.st.Inner, w.st.Name, w.st.Verb = &inner, str(b, "portalname"), "DECLARE"
	options, _ := b["options"].(float64)
	w.st.Hold = int(options)&cursorHold != 0
	if inner.Action == "sql:select" {
		w.st.Action = "sql:cursor"
	}
}

// cursorHold is CURSOR_OPT_HOLD of PostgreSQL's parsenodes.h.
const cursorHold = 0x20

// procedure is CALL: a procedure can do anything.
func (w *walker) procedure(b map[string]any) {
	f := object(b["funccall"])
	w.call(strs(f["funcname"]), items(f["args"]))
	w.walk(f["args"])
	w.st.Settings = add(w.st.Settings, "*")
}

func (w *walker) do(map[string]any) {
	w.st.class("interpreter")
	w.st.Settings = add(w.st.Settings, "*")
	w.st.Obscure("runs code that stands in a text")
}

// drop names what it drops in lists of its own.
func (w *walker) drop(b map[string]any) {
	what := strings.ReplaceAll(strings.TrimPrefix(str(b, "removeType"), "OBJECT_"), "_", " ")
	w.st.Verb = "DROP " + what
	switch what {
	case "ROLE", "POLICY", "FOREIGN SERVER", "FDW", "EXTENSION", "EVENT TRIGGER", "PUBLICATION", "LANGUAGE":
		w.st.class("privilege")
	}
	for _, o := range items(b["objects"]) {
		if parts := strs(o); len(parts) > 0 && parts[0] != "" {
			w.st.Writes = add(w.st.Writes, dotted(parts))
		}
	}
}

// expressions are the nodes that stand inside statements and are understood: by what is in them.
var expressions = words(`String Integer Float Boolean BitString List IntList OidList A_Const A_Star A_Indices A_Indirection
	A_ArrayExpr ResTarget ParamRef TypeCast TypeName CollateClause SortBy WindowDef RangeSubselect RangeFunction
	RangeTableFunc RangeTableFuncCol JoinExpr FromExpr Alias BoolExpr NullTest BooleanTest CaseExpr CaseWhen CoalesceExpr MinMaxExpr
	RowExpr ArrayExpr SQLValueFunction XmlExpr XmlSerialize GroupingFunc GroupingSet SetToDefault CurrentOfExpr MultiAssignRef
	NamedArgExpr CommonTableExpr WithClause LockingClause OnConflictClause InferClause IndexElem MergeWhenClause DefElem
	CTESearchClause CTECycleClause RoleSpec JsonFormat JsonReturning JsonValueExpr JsonOutput JsonKeyValue JsonObjectConstructor
	JsonArrayConstructor JsonArrayQueryConstructor JsonAggConstructor JsonObjectAgg JsonArrayAgg JsonIsPredicate JsonParseExpr
	JsonScalarExpr JsonSerializeExpr JsonFuncExpr JsonBehavior JsonTable JsonTableColumn JsonTablePathSpec JsonArgument
	VacuumRelation AccessPriv FunctionParameter ObjectWithArgs ColumnDef Constraint PartitionCmd PartitionSpec PartitionElem
	PartitionBoundSpec TableLikeClause AlterTableCmd`)
