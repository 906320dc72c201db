package command

import "strings"

// findValues says how many words the tests and actions of find take that take any.
var findValues = map[string]int{
	"-amin": 1, "-anewer": 1, "-atime": 1, "-cmin": 1, "-cnewer": 1, "-context": 1, "-ctime": 1, "-fstype": 1, "-gid": 1,
	"-group": 1, "-ilname": 1, "-iname": 1, "-inum": 1, "-ipath": 1, "-iregex": 1, "-iwholename": 1, "-links": 1,
	"-lname": 1, "-maxdepth": 1, "-mindepth": 1, "-mmin": 1, "-mtime": 1, "-name": 1, "-newer": 1, "-path": 1, "-perm": 1,
	"-printf": 1, "-regex": 1, "-regextype": 1, "-samefile": 1, "-size": 1, "-type": 1, "-uid": 1, "-used": 1, "-user": 1,
	"-wholename": 1, "-xtype": 1, "-D": 1, "-newermt": 1, "-newerat": 1, "-newerct": 1, "-neweraa": 1, "-newermm": 1,
}

var findFlags = map[string]bool{
	"-a": true, "-and": true, "-o": true, "-or": true, "-not": true, "!": true, "(": true, ")": true, ",": true,
	"-daystart": true, "-depth": true, "-d": true, "-empty": true, "-executable": true, "-false": true, "-follow": true,
	"-ignore_readdir_race": true, "-ls": true, "-mount": true, "-nogroup": true, "-noignore_readdir_race": true,
	"-noleaf": true, "-nouser": true, "-nowarn": true, "-print": true, "-print0": true, "-prune": true, "-quit": true,
	"-readable": true, "-true": true, "-warn": true, "-writable": true, "-xdev": true, "-H": true, "-L": true, "-P": true,
	"-help": true, "-version": true, "--help": true, "--version": true, "-O1": true, "-O2": true, "-O3": true,
}

// hookFind reads the expression of find.
func hookFind(c *call) bool {
	c.class |= Read
	args := c.args
	begun := false
	var roots []arg
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a.is(lead) {
			c.f.Dynamic = true
			c.opaque("what find gets may be an action: " + a.text)
			continue
		}
		if !begun && !strings.HasPrefix(a.text, "-") && !findFlags[a.text] {
			roots = append(roots, a)
			c.read(a)
			continue
		}
		begun = begun || !strings.HasPrefix(a.text, "-") || len(a.text) > 2 && a.text[1] != 'O'
		if a.flags != 0 {
			c.opaque("an action of find is known only to the shell: " + a.text)
		}
		switch n, ok := findValues[a.text]; {
		case ok:
			c.findValue(args[i+1:], a.text)
			i += n
		case !findFlags[a.text]:
			i += c.findAction(args[i:], roots)
		}
	}
	return true
}

// findValue looks at the value of a test.
func (c *call) findValue(args []arg, name string) {
	if len(args) > 0 && args[0].is(unknown|glob) {
		c.f.Dynamic = true
		if args[0].is(split | glob) {
			c.opaque("what find gets after " + name + " may be an action: " + args[0].text)
		}
	}
}

// findAction looks at an action that does more than print, and returns how many words behind it belong to it.
func (c *call) findAction(args []arg, roots []arg) int {
	switch name := args[0].text; name {
	case "-delete":
		c.class |= Destructive | Write
		for _, a := range roots {
			c.remove(a)
		}
		if len(roots) == 0 {
			c.remove(literal("."))
		}
		return 0
	case "-fprint", "-fprint0", "-fls", "-fprintf":
		if len(args) > 1 {
			c.write(args[1])
		}
		if name == "-fprintf" {
			return 2
		}
		return 1
	case "-files0-from":
		c.opaque("find reads where to begin from a file")
		return 1
	case "-exec", "-execdir", "-ok", "-okdir":
		return c.findExec(args)
	default:
		if strings.HasPrefix(name, "-newer") && len(name) == len("-newerXY") {
			return 1
		}
		c.opaque("unknown action of find: " + name)
		return 0
	}
}

// findExec runs the command up to ; or +, in which {} stands for names of files.
func (c *call) findExec(args []arg) int {
	name := args[0].text
	end := 1
	for end < len(args) && args[end].text != ";" && !(args[end].text == "+" && args[end-1].text == "{}") {
		end++
	}
	cmd := make([]arg, 0, end)
	for _, a := range args[1:end] {
		if strings.Contains(a.text, "{}") {
			a.flags |= unknown
			if strings.HasPrefix(name, "-execdir") || strings.HasPrefix(name, "-okdir") {
				// GNU find puts ./ before it, others do not.
				a.flags |= lead
			}
		}
		cmd = append(cmd, a)
	}
	if end == len(args) {
		c.opaque("find " + name + " without an end")
	}
	c.runVia(cmd, "find "+name)
	return end
}
