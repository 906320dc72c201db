package command

import (
	"slices"
	"strings"
)

// hook does for a program what the table has no words for. It reports whether it has looked at options and operands
// itself; if not, they are taken as the table says.
type hook struct {
	run func(*call) bool
	raw bool // called with the arguments as they are, instead of everything else
}

// hooks are what hook= in a table may name.
var hooks = map[string]hook{
	"alias":    {run: hookAlias},
	"assigns":  {run: hookAssigns},
	"at":       {run: hookAt},
	"awk":      {run: hookAwk},
	"cd":       {run: hookCd},
	"chmod":    {run: hookChmod},
	"curl":     {run: hookCurl},
	"dd":       {run: hookDd, raw: true},
	"declare":  {run: hookDeclare},
	"eval":     {run: hookEval},
	"find":     {run: hookFind, raw: true},
	"git":      {run: hookGit},
	"install":  {run: hookInstall},
	"kill":     {run: hookKill, raw: true},
	"kube":     {run: hookKube},
	"lists":    {run: hookLists},
	"mv":       {run: hookMv},
	"number":   {run: hookNumber, raw: true},
	"parallel": {run: hookParallel},
	"rsync":    {run: hookRsync, raw: true},
	"sed":      {run: hookSed},
	"set":      {run: hookSet, raw: true},
	"setter":   {run: hookSetter},
	"shell":    {run: hookShell},
	"shopt":    {run: hookShopt},
	"sql":      {run: hookSQL},
	"ssh":      {run: hookSSH},
	"su":       {run: hookSu},
	"tar":      {run: hookTar, raw: true},
	"test":     {run: hookTest, raw: true},
	"transfer": {run: hookTransfer},
	"trap":     {run: hookTrap, raw: true},
	"xargs":    {run: hookXargs},
}

// has reports whether one of the options called names was given.
func (c *call) has(names ...string) bool {
	for _, g := range c.opts {
		if slices.Contains(names, g.o.name) {
			return true
		}
	}
	return false
}

// is reports whether g is one of the options called names.
func (g given) is(names ...string) bool { return slices.Contains(names, g.o.name) }

// hookShell: sh, bash and their like. -c is a flag; the code is the first operand.
func hookShell(c *call) bool {
	c.values()
	switch {
	case c.has("-c"):
		if len(c.operands) > 0 {
			c.nested(c.operands[0], c.label)
		}
		return true
	case len(c.operands) > 0 && !c.has("-s"):
		c.word(kindScript, c.operands[0])
		return true
	case c.input != nil:
		c.nested(literal(*c.input), c.label)
		return true
	}
	c.class |= Interpreter
	if c.fed {
		c.opaque(c.label + " runs code from a pipe or a file")
	} else {
		c.opaque(c.label + " without a command starts a shell")
	}
	return true
}

// hookEval runs its arguments in the same shell.
func hookEval(c *call) bool {
	if len(c.operands) > 0 {
		c.nested(join(c.operands), c.label)
	}
	return true
}

// hookTrap runs its first argument later.
func hookTrap(c *call) bool {
	args := c.args
	if len(args) > 0 && args[0].text == "--" {
		args = args[1:]
	}
	switch {
	case anyUnknown(args):
		c.opaque("what trap sets is known only to the shell")
	case len(args) < 2 || args[0].text == "-" || args[0].text == "-p" || args[0].text == "-l":
	case strings.HasPrefix(args[0].text, "-"):
		c.opaque("unknown option of trap: " + args[0].text)
	default:
		c.nested(args[0], c.label)
	}
	return true
}

// hookAlias: an alias changes what later words mean, in some shells also in the same text.
func hookAlias(c *call) bool {
	for _, a := range c.operands {
		if a.flags != 0 || strings.Contains(a.text, "=") {
			c.opaque("an alias changes what words mean")
		}
	}
	return true
}

// hookNumber: builtins whose argument is a number, which zsh evaluates as arithmetic.
func hookNumber(c *call) bool {
	for _, a := range c.args {
		if !isNumber(a) {
			c.opaque("zsh evaluates the number that " + c.name + " gets")
		}
	}
	return true
}

// hookAssigns: builtins whose operands, and values of -a and -v, are variables that they set.
func hookAssigns(c *call) bool {
	names := c.operands
	if c.name == "printf" {
		names = nil
		for _, a := range c.operands {
			if strings.Contains(a.text, "[") && strings.ContainsAny(a.text, "$`") || a.is(unknown) && takesNumbers(c.operands[0]) {
				c.opaque("zsh evaluates the numbers that printf gets")
			}
		}
	}
	if c.name == "getopts" && len(names) > 1 {
		names = names[1:2]
	}
	for _, g := range c.opts {
		if g.has && g.is("-a", "-v") {
			names = append(names[:len(names):len(names)], g.value)
		}
	}
	for _, a := range names {
		if a.flags != 0 || strings.Contains(a.text, "[") {
			c.opaque("the variable that " + c.label + " sets is known only to the shell")
			continue
		}
		c.variable(a.text, arg{flags: unknown}, false)
	}
	return true
}

// takesNumbers reports whether a format of printf may have other conversions than those of strings.
func takesNumbers(format arg) bool {
	if format.is(unknown) {
		return true
	}
	s := strings.ReplaceAll(format.text, "%%", "")
	for {
		_, rest, ok := strings.Cut(s, "%")
		if !ok {
			return false
		}
		rest = strings.TrimLeft(rest, "-0123456789.")
		if rest == "" || strings.IndexByte("sbq", rest[0]) < 0 {
			return true
		}
		s = rest[1:]
	}
}

// hookDeclare: export, declare and so on where the parser saw an ordinary command.
func hookDeclare(c *call) bool {
	for _, a := range c.operands {
		if name, val, ok := strings.Cut(a.text, "="); ok && a.flags == 0 && c.name == "export" {
			c.variable(name, literal(val), true)
			continue
		}
		c.opaque(c.label + " may change variables")
	}
	return true
}

// harmlessSet are the options of set that do not change what a text means. -x prints PS4, which is watched itself.
const harmlessSet = "euxfvnCbhmE"

var harmlessSetO = []string{"pipefail", "errexit", "nounset", "xtrace", "noglob", "verbose", "noexec", "noclobber"}

func hookSet(c *call) bool {
	for i := 0; i < len(c.args); i++ {
		a := c.args[i]
		if a.is(lead) {
			c.opaque("an option of set is known only to the shell")
			return true
		}
		if len(a.text) < 2 || a.text[0] != '-' && a.text[0] != '+' || a.text == "--" {
			return true // positional parameters
		}
		for _, letter := range a.text[1:] {
			switch {
			case letter == 'o' && i+1 < len(c.args):
				i++
				if c.args[i].flags != 0 || !slices.Contains(harmlessSetO, c.args[i].text) {
					c.opaque("set -o " + c.args[i].text + " changes how the shell reads")
				}
			case letter != 'o' && !strings.ContainsRune(harmlessSet, letter):
				c.opaque("set " + a.text + " changes how the shell reads")
			}
		}
	}
	return true
}

var harmlessShopt = []string{"nullglob", "failglob", "globstar", "nocaseglob", "inherit_errexit", "lastpipe",
	"checkwinsize", "histappend", "cmdhist"}

func hookShopt(c *call) bool {
	for _, a := range c.operands {
		if (c.has("-s", "-u")) && (a.flags != 0 || !slices.Contains(harmlessShopt, a.text)) {
			c.opaque("shopt " + a.text + " changes how the shell reads")
		}
	}
	return true
}

// maxDirs bounds the directories that relative paths are seen from.
const maxDirs = 8

// hookCd remembers where relative paths may lie from now on.
func hookCd(c *call) bool {
	for _, a := range c.operands {
		c.enter(a)
	}
	return true
}

// enter notes that the directory may be changed to a.
func (w *walker) enter(a arg) {
	dir := a.text
	switch {
	case a.is(unknown | glob):
		w.f.Dynamic = true
		dir = "*"
	case dir == "-" || dir == "." || dir == "":
		return
	case !rooted(dir) && len(w.dirs) > 0:
		dir = w.dirs[len(w.dirs)-1] + "/" + dir
	}
	if len(w.dirs) >= maxDirs {
		w.opaque("changes directory too often")
		return
	}
	w.dirs = append(w.dirs[:len(w.dirs):len(w.dirs)], dir)
}

var arithTests = []string{"-eq", "-ne", "-lt", "-le", "-gt", "-ge"}

// hookTest: test and [. An operand that becomes -v makes bash evaluate the next; zsh evaluates those of -eq.
func hookTest(c *call) bool {
	args := c.args
	if c.name == "[" && len(args) > 0 {
		args = args[:len(args)-1]
	}
	var unsure, arith bool
	for i, a := range args {
		if a.is(unknown|glob) && a.is(split|glob|ansi) {
			c.opaque("what " + c.name + " compares may become an operator: " + a.text)
		}
		unsure = unsure || a.is(unknown)
		arith = arith || slices.Contains(arithTests, a.text)
		if (a.text == "-v" || a.text == "-R") && i+1 < len(args) && !plainName(args[i+1]) {
			c.opaque(c.name + " -v evaluates a subscript")
		}
	}
	c.f.Dynamic = c.f.Dynamic || unsure
	for i, a := range args {
		switch {
		case arith && (a.is(unknown) || strings.ContainsAny(a.text, "[`$") && !a.is(number)):
			c.opaque("zsh evaluates the numbers that " + c.name + " compares")
		case a.is(unknown) && (len(args) > 3 || len(args) == 3 && i == 1 || len(args) == 2 && i == 0):
			c.opaque("what " + c.name + " compares may become an operator: " + a.text)
		}
	}
	return true
}

func plainName(a arg) bool {
	return a.flags == 0 && a.text != "" && strings.Trim(a.text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

// hookXargs runs a command with words from its input, which are not known.
func hookXargs(c *call) bool {
	c.values()
	if !c.hasRest {
		return true // echo
	}
	more := arg{text: "...", flags: unknown | lead | split}
	replace := ""
	for _, g := range c.opts {
		switch g.o.name {
		case "-I", "-J":
			replace = g.value.text
		case "-i", "--replace":
			if replace = "{}"; g.has {
				replace = g.value.text
			}
		}
	}
	args := make([]arg, 0, len(c.rest)+1)
	for _, a := range c.rest {
		if replace != "" && strings.Contains(a.text, replace) {
			a.flags |= unknown
			if strings.HasPrefix(a.text, replace) {
				a.flags |= lead
			}
		}
		args = append(args, a)
	}
	if replace == "" {
		args = append(args, more)
	}
	c.runVia(args, c.label)
	return true
}

// hookParallel runs commands through a shell, made of its words and its input.
func hookParallel(c *call) bool {
	c.opaque("parallel makes commands of its input")
	for i, a := range c.rest {
		if strings.HasPrefix(a.text, ":::") {
			c.rest = c.rest[:i]
			break
		}
	}
	c.tail()
	return true
}

// hookSu: su and runuser.
func hookSu(c *call) bool {
	ran := false
	for _, g := range c.opts {
		switch g.o.name {
		case "-c", "--command", "--session-command":
			c.nested(g.value, c.label)
			ran = true
		case "-u", "--user":
			c.runVia(c.operands, c.label)
			ran = true
		}
	}
	if !ran {
		c.class |= Interpreter
		c.opaque(c.label + " without a command starts a shell")
	}
	return true
}

// hookSSH runs a command on another host.
func hookSSH(c *call) bool {
	c.sshOptions()
	if len(c.operands) > 0 {
		if h := hostOf(c.operands[0].text); h != "" {
			c.label += " " + h
		}
	}
	if !c.hasRest && !c.has("-N", "-G", "-O", "-Q") {
		if c.input != nil && len(c.operands) > 0 {
			c.nested(literal(*c.input), c.label)
		} else {
			c.class |= Interpreter
			c.opaque(c.label + " without a command starts a shell")
		}
	}
	return false
}

// harmlessSSH are the settings that -o may make. Others name programs, files and ways back.
var harmlessSSH = []string{"batchmode", "connecttimeout", "connectionattempts", "stricthostkeychecking", "serveraliveinterval",
	"serveralivecountmax", "loglevel", "port", "user", "compression", "tcpkeepalive", "requesttty", "numberofpasswordprompts",
	"passwordauthentication", "pubkeyauthentication", "preferredauthentications", "identitiesonly", "addressfamily",
	"forwardagent=no", "forwardx11=no", "checkhostip", "visualhostkey", "clearallforwardings", "exitonforwardfailure",
	"userknownhostsfile=/dev/null", "globalknownhostsfile=/dev/null", "controlmaster=no", "controlpath=none"}

// sshOptions looks at -o of ssh, scp and sftp.
func (c *call) sshOptions() {
	for _, g := range c.opts {
		if !g.is("-o") {
			continue
		}
		key, val, _ := strings.Cut(strings.ToLower(strings.Replace(g.value.text, " ", "=", 1)), "=")
		if g.value.flags == 0 && (slices.Contains(harmlessSSH, key) || slices.Contains(harmlessSSH, key+"="+val)) {
			continue
		}
		c.class |= Interpreter
		c.opaque("an option of " + c.name + " may name a program to run: " + key)
	}
}

// hookMv: what goes to /dev/null is gone.
func hookMv(c *call) bool {
	if n := len(c.operands); n > 1 && isStream(c.operands[n-1]) {
		c.class |= Destructive
	}
	return false
}

// hookChmod: a mode that lets others in, or runs as the file's owner.
func hookChmod(c *call) bool {
	if c.has("--reference") || len(c.operands) == 0 {
		return false
	}
	mode := c.operands[0]
	if mode.flags != 0 || opensUp(mode.text) {
		c.class |= Privilege
	}
	return false
}

func opensUp(mode string) bool {
	if strings.Trim(mode, "01234567") == "" {
		mode = strings.TrimLeft(mode, "0")
		if n := len(mode); n > 0 && strings.IndexByte("2367", mode[n-1]) >= 0 {
			return true
		}
		return len(mode) > 3 && mode[:len(mode)-3] != "1"
	}
	for _, clause := range strings.Split(mode, ",") {
		i := strings.IndexAny(clause, "+=")
		if i < 0 {
			continue
		}
		who, perm := clause[:i], clause[i:]
		if strings.ContainsAny(perm, "sugo") || strings.Contains(perm, "w") && (strings.ContainsAny(who, "ao")) {
			return true
		}
	}
	return false
}

// hookSetter: programs that tell something, and set it if they are given a value: hostname, date, sysctl.
func hookSetter(c *call) bool {
	for _, a := range c.operands {
		switch {
		case c.name == "date" && strings.HasPrefix(a.text, "+"):
		case c.name == "sysctl" && !strings.Contains(a.text, "=") && !a.is(unknown):
		default:
			c.class |= Write | Privilege
		}
	}
	return false
}

// hookKill: a signal that only asks is no harm.
func hookKill(c *call) bool {
	if len(c.args) > 0 && c.args[0].flags == 0 && slices.Contains([]string{"-0", "-l", "-L"}, c.args[0].text) {
		c.class = Read
		if len(c.args) > 1 && c.args[1].is(lead) {
			c.class = Destructive | Write
		}
		return true
	}
	c.f.Dynamic = c.f.Dynamic || anyUnknown(c.args)
	return true
}

// hookAt reads commands to run later from its input.
func hookAt(c *call) bool {
	switch {
	case c.has("-f"):
		c.opaque(c.label + " runs the code in a file")
	case c.input != nil:
		c.nested(literal(*c.input), c.label)
	default:
		c.opaque(c.label + " runs code from its input later")
	}
	return false
}

// hookDd: its operands are NAME=VALUE.
func hookDd(c *call) bool {
	for _, a := range c.args {
		name, val, _ := strings.Cut(a.text, "=")
		v := arg{text: val, flags: a.flags &^ lead}
		switch {
		case a.is(lead) || a.is(unknown) && name != "if" && name != "of":
			c.opaque("an operand of dd is known only to the shell: " + a.text)
		case name == "if":
			c.word(kindRead, v)
		case name == "of":
			c.word(kindWrite, v)
			if !isStream(v) {
				c.class |= Destructive
			}
		}
	}
	return true
}

// harmlessGit are the settings that git -c may make. Many others name a program.
var harmlessGit = []string{"color.", "user.name", "user.email", "core.quotepath", "advice.", "log.", "diff.renames",
	"core.autocrlf", "safe.directory", "init.defaultbranch", "pull.rebase", "push.default", "protocol.version"}

func hookGit(c *call) bool {
	for _, g := range c.opts {
		if g.o.name != "-c" {
			continue
		}
		key, val, _ := strings.Cut(strings.ToLower(g.value.text), "=")
		ok := key == "core.pager" && val == "cat"
		for _, h := range harmlessGit {
			ok = ok || key == h || strings.HasSuffix(h, ".") && strings.HasPrefix(key, h)
		}
		if !ok || g.value.flags != 0 {
			c.opaque("git -c " + key + " may name a program to run")
		}
	}
	for _, a := range c.operands {
		if len(c.chain) > 1 && c.chain[1].name == "push" && (strings.HasPrefix(a.text, "+") || strings.HasPrefix(a.text, ":")) {
			c.class |= Destructive // +REF forces, :REF deletes
		}
		if strings.Contains(a.text, "::") {
			c.opaque("git runs a program for an address with ::")
		}
	}
	return false
}

// hookLists: git branch, tag and remote list what there is if they are given nothing.
func hookLists(c *call) bool {
	if len(c.operands) == 0 && !c.class.Has(Destructive) && len(c.chain) == 2 && !anyUnknown(c.args) {
		c.class &^= Write
	}
	return false
}

// hookCurl: the method, and local files by URL.
func hookCurl(c *call) bool {
	for _, g := range c.opts {
		if g.is("-H", "--header", "--proxy-header") && strings.HasPrefix(g.value.text, "@") {
			c.class |= Exfiltration
			c.read(literal(g.value.text[1:]))
		}
		if !g.is("-X", "--request") {
			continue
		}
		switch strings.ToUpper(g.value.text) {
		case "GET", "HEAD", "OPTIONS":
			if g.value.flags != 0 {
				c.opaque("the method of " + c.label + " is known only to the shell")
			}
		case "DELETE":
			c.class |= Destructive | Write
		default:
			c.class |= Write
		}
	}
	for _, a := range c.operands {
		if path, ok := strings.CutPrefix(a.text, "file://"); ok {
			c.read(arg{text: path, flags: a.flags})
		}
	}
	return false
}

// hookTransfer: scp and rsync. What goes to another host leaves this one.
func hookTransfer(c *call) bool {
	n := len(c.operands)
	if c.name == "scp" {
		c.sshOptions()
		if c.scpServer() {
			return true
		}
	}
	if n == 0 {
		return false
	}
	for _, a := range c.operands {
		if a.is(lead | unknown) {
			c.opaque("what " + c.label + " copies is known only when it runs: " + a.text)
		}
	}
	for _, a := range c.operands[:n-1] {
		c.remoteFile(a)
	}
	last := c.operands[n-1]
	_, _, away := splitRemote(last.text)
	switch {
	case n == 1:
		c.remoteFile(last) // rsync lists
	case away:
		c.remoteFile(last)
		c.class |= Exfiltration | Write
	default:
		c.write(last)
	}
	c.values()
	return true
}
