package command

import (
	"slices"
	"strings"
)

// hookTar reads both styles of options, `tar xzf F` and `tar -x -z -f F`.
func hookTar(c *call) bool {
	if len(c.args) > 0 && c.args[0].flags == 0 && !strings.HasPrefix(c.args[0].text, "-") {
		c.args = c.oldTar(c.args[0].text, c.args[1:])
	}
	c.scan()
	if c.why != "" {
		c.opaque(c.why)
	}
	if c.onlyInfo() {
		return true
	}
	c.doubts()
	if c.doubt != "" && c.class.Has(Write) {
		c.opaque("what tar gets may be an option: " + c.doubt)
	}
	c.tarFiles()
	return true
}

// oldTar writes the bundle of letters of the old style as options; their values follow in the same order.
func (c *call) oldTar(letters string, args []arg) []arg {
	var out []arg
	for i := 0; i < len(letters); i++ {
		name := "-" + letters[i:i+1]
		out = append(out, literal(name))
		if o := c.lookup(name); o != nil && o.value && len(args) > 0 {
			out, args = append(out, args[0]), args[1:]
		}
	}
	return append(out, args...)
}

// tarFiles draws the facts from what tar does: create, add, extract, list.
func (c *call) tarFiles() {
	create := c.has("-c", "--create", "-r", "--append", "-u", "--update", "-A", "--catenate", "--concatenate")
	extract := c.has("-x", "--extract", "--get")
	if create == extract && !c.has("-t", "--list", "-d", "--diff", "--compare", "--test-label", "--delete") {
		c.opaque("unknown what tar does")
	}
	for _, g := range c.opts {
		switch {
		case !g.has:
		case g.is("-f", "--file"):
			c.tarArchive(g.value, create || c.has("--delete"))
		case g.is("-C", "--directory", "--one-top-level"):
			if extract {
				c.class |= Write
				c.write(g.value)
			}
		default:
			c.word(g.o.kind, g.value)
		}
	}
	if extract && !c.has("-O", "--to-stdout") {
		c.class |= Write
		c.f.Dynamic = true // the archive names the files
	}
	for _, a := range c.operands {
		switch {
		case create && c.has("--remove-files"):
			c.remove(a)
		case create:
			c.read(a)
		}
	}
}

// tarArchive looks at the archive: host:file is on another host.
func (c *call) tarArchive(a arg, written bool) {
	if host, _, ok := splitRemote(a.text); ok && !c.has("--force-local") {
		c.class |= Network
		if written {
			c.class |= Exfiltration | Write
		}
		c.f.Hosts = addOnce(c.f.Hosts, host)
		c.opaque("tar runs a program on another host")
		return
	}
	if written {
		c.write(a)
	} else {
		c.read(a)
	}
}

// sqlReads are the words that a statement begins with that only reads. A statement is looked at by its first word
// only: there are functions that write, so it is not called harmless for it.
var sqlReads = []string{"select", "show", "explain", "describe", "desc", "table", "values"}

var sqlDestroys = []string{"drop", "truncate", "delete", "flushall", "flushdb"}

// hookSQL: psql, mysql and sqlite3 run statements that this package does not understand. A statement given as an
// argument is looked at for its class; it is opaque all the same, for filters/sql to judge where it is reached there.
func hookSQL(c *call) bool {
	c.opaque(c.label + " runs statements that are not understood here")
	for _, g := range c.opts {
		if g.has && g.is("-c", "--command", "-e", "--execute", "--eval") {
			c.sql(g.value.text)
		}
	}
	for i, a := range c.operands {
		if i > 0 {
			c.sql(a.text)
		}
	}
	return false
}

func (c *call) sql(text string) {
	for _, statement := range strings.Split(strings.ToLower(text), ";") {
		words := strings.Fields(statement)
		if len(words) == 0 {
			continue
		}
		c.class |= Read
		if !slices.Contains(sqlReads, words[0]) {
			c.class |= Write
		}
		for _, word := range words {
			if slices.Contains(sqlDestroys, word) {
				c.class |= Destructive | Write
			}
		}
		if strings.HasPrefix(words[0], `\`) || strings.Contains(statement, "program") {
			c.class |= Interpreter
		}
	}
}
