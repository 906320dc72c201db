package postgres

import (
	"strconv"
	"strings"
)

// An origin is where a column of a view comes from.
type origin struct {
	oid uint32
	num int16
}

// viewOrigins reads, of the rule that makes a view, which of its columns are plain columns of a relation. The
// rule is a tree in PostgreSQL's own notation (pg_node_tree); of it only the entries of the outermost target
// list matter, each of which tells its origin. A column that is not found there is one of unknown origin.
func viewOrigins(tree string) map[int16]origin {
	out := map[int16]origin{}
	depth := 0
	for i := 0; i < len(tree); i++ {
		switch tree[i] {
		case '\\':
			i++
		case '{':
			depth++
			if depth == 2 && strings.HasPrefix(tree[i:], "{TARGETENTRY ") {
				entry(tree[i:], out)
			}
		case '}':
			depth--
		}
	}
	return out
}

// entry reads the fields of one TARGETENTRY that stand after its expression.
func entry(tree string, out map[int16]origin) {
	depth := 0
	var own strings.Builder // what is directly in it
	for i := 0; i < len(tree); i++ {
		switch c := tree[i]; {
		case c == '\\':
			i++
		case c == '{':
			depth++
		case c == '}':
			depth--
			if depth == 0 {
				fields := strings.Fields(own.String())
				num, ok1 := number(fields, ":resno")
				table, ok2 := number(fields, ":resorigtbl")
				col, ok3 := number(fields, ":resorigcol")
				junk := false
				for j, f := range fields {
					junk = junk || f == ":resjunk" && j+1 < len(fields) && fields[j+1] == "true"
				}
				if ok1 && ok2 && ok3 && !junk && table != 0 && num > 0 {
					out[int16(num)] = origin{uint32(table), int16(col)}
				}
				return
			}
		case depth == 1:
			own.WriteByte(c)
		}
	}
}

func number(fields []string, name string) (int64, bool) {
	for i, f := range fields {
		if f == name && i+1 < len(fields) {
			v, err := strconv.ParseInt(fields[i+1], 10, 64)
			return v, err == nil
		}
	}
	return 0, false
}
