package command

import (
	"sort"
	"strings"
)

// call is one program about to run: its words sorted into options and operands by its row of the table.
type call struct {
	*walker
	name     string
	label    string   // how others that it runs say via what: "ssh web1", "kubectl exec"
	e        *entry   // the row of the program, or of its subcommand
	chain    []*entry // the rows from the program down to e
	levels   [4]*entry
	args     []arg
	operands []arg
	first    int // what number the first operand has; 1 if an option took its place
	rest     []arg
	hasRest  bool // rest is a command or shell code, from an operand that takes all
	opts     []given
	class    Class
	why      string
	at       int    // the argument that scan looks at
	doubt    string // an argument that may turn out to be an option
	info     bool   // it only tells something
}

// given is an option as it stands in the words of a call.
type given struct {
	o     *option
	value arg
	has   bool
}

// systemDirs are where programs known by name are; only root can put something else there.
var systemDirs = []string{"/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/"}

// shellRun looks at a simple command of a shell: a function, a builtin or a program.
func (w *walker) shellRun(args []arg) {
	if len(args) == 0 {
		w.opaque("the command word may vanish")
		return
	}
	if w.funcs[args[0].text] && args[0].flags == 0 {
		w.f.Dynamic = w.f.Dynamic || anyUnknown(args)
		w.program(Program{Name: args[0].text, Args: texts(args[1:]), Via: w.via})
		return
	}
	w.run(args)
}

// run looks at a program and its arguments.
func (w *walker) run(args []arg) {
	if len(args) == 0 || w.full {
		return
	}
	name, path, ok := w.commandName(args[0])
	if !ok {
		w.unknownCall(args)
		return
	}
	e := w.table.program(name)
	p := Program{Name: name, Path: path, Args: texts(args[1:]), Via: w.via}
	index := len(w.f.Programs)
	if !w.program(p) {
		return
	}
	if e == nil {
		w.opaque("unknown program " + name)
		return
	}
	if !w.deeper() {
		return
	}
	c := call{walker: w, name: name, label: name, e: e, args: args[1:]}
	c.analyze()
	w.depth--
	w.f.Programs[index].Classes = c.class
	w.class(c.class)
}

// commandName returns the name of the program that a command word runs, and its path if it has one.
func (w *walker) commandName(a arg) (name, path string, ok bool) {
	switch {
	case a.is(unknown | lead | glob | stream | number):
		w.opaque("the command word is known only to the shell: " + a.text)
		return "", "", false
	case a.text == "":
		w.opaque("the command word is empty")
		return "", "", false
	case a.is(ansi):
		w.opaque("shells read the command word differently")
	}
	i := strings.LastIndexByte(a.text, '/')
	if i < 0 {
		return a.text, "", true
	}
	for _, dir := range systemDirs {
		if a.text[:i+1] == dir {
			return a.text[i+1:], a.text, true
		}
	}
	w.opaque("program outside the system's directories: " + a.text)
	return a.text[i+1:], a.text, a.text[i+1:] != ""
}

// unknownCall notes a command whose name is not known.
func (w *walker) unknownCall(args []arg) {
	w.f.Dynamic = true
	w.program(Program{Name: args[0].text, Args: texts(args[1:]), Via: w.via})
}

func texts(args []arg) []string {
	if len(args) == 0 {
		return nil
	}
	s := make([]string, len(args))
	for i, a := range args {
		s[i] = a.text
	}
	return s
}

func anyUnknown(args []arg) bool {
	for _, a := range args {
		if a.is(unknown | lead | glob | number) {
			return true
		}
	}
	return false
}

// analyze sorts the words of a call and draws the facts from them.
func (c *call) analyze() {
	c.chain = append(c.levels[:0], c.e)
	if h := c.e.hook; h.raw {
		c.class |= c.e.class
		h.run(c)
		return
	}
	if len(c.args) == 1 && c.args[0].flags == 0 && (c.args[0].text == "--version" || c.args[0].text == "--help") &&
		c.e.hook.run == nil {
		return
	}
	c.class |= c.e.class
	c.scan()
	if (c.info || c.onlyInfo()) && c.why == "" {
		c.class = 0
		for _, g := range c.opts {
			c.class |= g.o.class
		}
		return
	}
	if c.fed && c.input == nil {
		c.class |= c.e.stdin
	}
	if c.e.why != "" {
		c.opaque(c.e.why)
	}
	if c.why != "" {
		c.opaque(c.why)
	}
	c.doubts()
	for _, e := range c.chain {
		if e.hook.run != nil && e.hook.run(c) {
			return
		}
	}
	c.given()
}

// given draws the facts from options and operands, as their kinds say.
func (c *call) given() {
	c.values()
	for i, a := range c.operands {
		c.word(c.e.operandKind(i+c.first, len(c.operands)+c.first), a)
	}
	if c.hasRest {
		c.tail()
	} else if c.e.bare && len(c.operands) == 0 {
		c.opaque(c.label + " without a command starts a shell")
		c.class |= Interpreter
	}
}

// values draws the facts from the values of options.
func (c *call) values() {
	for _, g := range c.opts {
		if g.has {
			c.word(g.o.kind, g.value)
		}
	}
}

// tail runs what stands from an operand that takes all.
func (c *call) tail() {
	k := c.e.operandKind(len(c.operands)+c.first, 0)
	if len(c.rest) == 0 {
		return
	}
	if k == kindShell {
		c.nested(join(c.rest), c.label)
		return
	}
	c.runVia(c.rest, c.label)
}

// runVia runs args by this program rather than by a shell.
func (c *call) runVia(args []arg, via string) {
	saved := c.via
	c.via = append(c.via[:len(c.via):len(c.via)], via)
	c.run(args)
	c.via = saved
}

// join makes one word of several, as a program does that hands its arguments to a shell.
func join(args []arg) arg {
	var a arg
	for _, b := range args {
		a.flags |= b.flags
	}
	a.text = strings.Join(texts(args), " ")
	return a
}

// word draws the facts from one word that is of a kind.
func (c *call) word(k kind, a arg) {
	c.f.Dynamic = c.f.Dynamic || a.is(unknown|lead|glob|number)
	switch k {
	case kindRead:
		c.read(a)
	case kindWrite:
		c.write(a)
	case kindRemove:
		c.remove(a)
	case kindMove:
		c.move(a)
	case kindDir:
		c.enter(a)
	case kindHost, kindURL:
		c.host(a)
	case kindRemote:
		c.remoteFile(a)
	case kindShell:
		c.nested(a, c.label)
	case kindRun:
		c.runVia([]arg{a}, c.label)
	case kindScript:
		c.class |= Interpreter
		c.opaque(c.label + " runs the code in a file: " + a.text)
		c.read(a)
	case kindCode:
		c.class |= Interpreter
		c.opaque(c.label + " runs code in another language")
	}
}

// doubts looks for words whose value would matter and is not known.
func (c *call) doubts() {
	unsure := anyUnknown(c.args)
	c.f.Dynamic = c.f.Dynamic || unsure
	if c.e.plain || !unsure && c.doubt == "" {
		return
	}
	if c.class.Has(Network) {
		for _, a := range c.args[:len(c.args)-len(c.rest)] {
			if a.is(unknown) {
				c.class |= Exfiltration
				c.opaque("what " + c.label + " sends is known only when it runs: " + a.text)
			}
		}
	}
	if c.doubt != "" && c.risky() {
		c.opaque("what " + c.label + " gets may be an option: " + c.doubt)
	}
}

// risky reports whether an option could make this call more than it is.
func (c *call) risky() bool {
	for _, e := range c.chain {
		if e.strict || e.hook.run != nil {
			return true
		}
		for _, o := range e.options {
			if o.class&^c.class != 0 || o.why != "" || o.kind > kindRead {
				return true
			}
		}
	}
	return false
}

// scan sorts args into options and operands, and goes down into subcommands.
func (c *call) scan() {
	args, ended := c.args, false
	for i := 0; i < len(args); i++ {
		a := args[i]
		c.at = i
		if a.is(lead) && !ended && c.doubt == "" {
			c.doubt = a.text
		}
		switch {
		case c.e.takesAll(len(c.operands)+c.first) && (ended || !isOption(a)) && !(c.e.assigns && isAssignment(a)):
			c.rest, c.hasRest = args[i:], true
			return
		case !ended && a.text == "--" && a.flags&^ansi == 0:
			ended = true
		case !ended && isOption(a):
			i += c.option(args[i:])
		case c.e.assigns && isAssignment(a):
			name, val, _ := strings.Cut(a.text, "=")
			c.variable(name, arg{text: val, flags: a.flags}, true)
		case c.e.hasSubs():
			c.sub(a)
		default:
			c.operands = append(c.operands, a)
			ended = ended || c.e.posix
		}
	}
	if c.e.hasSubs() {
		c.class |= c.e.alone
	}
}

// onlyInfo reports whether all arguments are options that make the program tell something and end.
func (c *call) onlyInfo() bool {
	for _, g := range c.opts {
		if !g.o.info {
			return false
		}
	}
	return len(c.opts) > 0 && len(c.opts) == len(c.args)
}

func isOption(a arg) bool {
	return len(a.text) > 1 && (a.text[0] == '-' || a.text[0] == '+') && !a.is(lead)
}

func isAssignment(a arg) bool {
	i := strings.IndexByte(a.text, '=')
	return i > 0 && strings.Trim(a.text[:i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

// sub goes down into the subcommand called a.
func (c *call) sub(a arg) {
	if a.is(unknown | lead | glob | ansi) {
		c.why = "the subcommand of " + c.label + " is known only to the shell"
		c.e = &entry{class: c.class, hasRest: true}
		return
	}
	e := c.e.sub(a.text)
	if e == nil {
		c.why = "unknown subcommand of " + c.label + ": " + a.text
		c.e = &entry{class: c.class, hasRest: true}
		return
	}
	c.label += " " + a.text
	c.chain = append(c.chain, e)
	c.e = e
	c.class |= e.class
}

// option notes the options in the first of args and returns how many of the words behind it are its value.
func (c *call) option(args []arg) int {
	a := args[0]
	if a.text[0] == '+' && c.lookup(a.text) == nil {
		if !strings.HasPrefix(a.text, "+") || c.e.strict {
			c.why = "unknown option of " + c.label + ": " + a.text
		}
		c.operandLike(a)
		return 0
	}
	if strings.HasPrefix(a.text, "--") || c.onedash() || a.text[0] == '+' {
		return c.long(args)
	}
	return c.cluster(args)
}

// operandLike takes a word that is no option after all.
func (c *call) operandLike(a arg) {
	if c.e.hasSubs() {
		c.sub(a)
		return
	}
	c.operands = append(c.operands, a)
}

func (c *call) onedash() bool { return c.chain[0].onedash || c.e.onedash }

// lookup returns the option called name, of the subcommand or of what is above it.
func (c *call) lookup(name string) *option {
	for i := len(c.chain) - 1; i >= 0; i-- {
		if o := c.chain[i].options[name]; o != nil {
			return o
		}
	}
	return nil
}

// long notes an option that is a word: --name, --name=value, or -name where options have one dash.
func (c *call) long(args []arg) int {
	a := args[0]
	name, val, attached := strings.Cut(a.text, "=")
	o := c.lookup(name)
	if o == nil && strings.HasPrefix(name, "--") {
		o = c.abbreviation(name)
	}
	if o == nil && strings.HasPrefix(name, "--") && c.onedash() {
		o = c.lookup(name[1:])
	}
	if o == nil && c.onedash() && !strings.HasPrefix(name, "--") && len(c.chain[0].longs) > 0 && len(name) == 2 {
		o = c.lookup("-" + name)
	}
	if o == nil {
		c.unlisted(name)
		return 0
	}
	if a.is(unknown) && !attached {
		c.why = "an option of " + c.label + " is known only to the shell"
	}
	switch {
	case attached:
		c.take(o, arg{text: val, flags: a.flags &^ lead}, true)
	case o.value && len(args) > 1:
		c.take(o, args[1], true)
		return 1
	default:
		c.take(o, arg{}, false)
	}
	return 0
}

// abbreviation returns an option made of all options that name may be short for, or nil.
func (c *call) abbreviation(name string) *option {
	var found *option
	for _, e := range c.chain {
		for i := sort.SearchStrings(e.longs, name); i < len(e.longs) && strings.HasPrefix(e.longs[i], name); i++ {
			o := e.options[e.longs[i]]
			if found == nil {
				found = o
				continue
			}
			both := *found
			both.class |= o.class
			both.value = both.value || o.value
			both.info, both.query = both.info && o.info, both.query && o.query
			both.kind = max(both.kind, o.kind)
			if both.why == "" {
				both.why = o.why
			}
			found = &both
		}
	}
	return found
}

// cluster notes options of one letter, of which several may stand in one word.
func (c *call) cluster(args []arg) int {
	a := args[0]
	if o := c.lookup(a.text); o != nil && len(a.text) > 2 {
		return c.long(args)
	}
	for i := 1; i < len(a.text); i++ {
		o := c.lookup("-" + a.text[i:i+1])
		if o == nil {
			c.unlisted("-" + a.text[i:i+1])
			continue
		}
		rest := arg{text: a.text[i+1:], flags: a.flags &^ lead}
		switch {
		case (o.value || o.attached) && rest.text != "":
			c.take(o, rest, true)
			return 0
		case o.value && len(args) > 1:
			c.take(o, args[1], true)
			return 1
		}
		c.take(o, arg{}, false)
	}
	if a.is(unknown) {
		c.why = "an option of " + c.label + " is known only to the shell"
	}
	return 0
}

// unlisted judges an option that the table does not have.
func (c *call) unlisted(name string) {
	if c.e.strict || c.e.hasSubs() {
		c.why = "unknown option of " + c.label + ": " + name
	}
}

// take notes option o with its value.
func (c *call) take(o *option, value arg, has bool) {
	c.class |= o.class
	if o.why != "" {
		c.opaque(o.why)
	}
	if o.shift {
		c.first = 1
	}
	c.info = c.info || o.query && c.at == 0
	if value.is(lead) && value.is(split|glob) && c.doubt == "" {
		c.doubt = value.text
	}
	c.opts = append(c.opts, given{o, value, has})
}
