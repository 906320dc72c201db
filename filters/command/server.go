package command

import (
	"slices"
	"strings"
)

// rsyncServerLong are the long options of `rsync --server` that only say how to copy. The client sends them.
var rsyncServerLong = []string{
	"--partial", "--numeric-ids", "--inplace", "--append", "--append-verify", "--size-only", "--ignore-existing", "--existing",
	"--no-implied-dirs", "--delay-updates", "--fuzzy", "--safe-links", "--copy-unsafe-links", "--omit-dir-times", "--no-relative",
	"--no-r", "--no-specials", "--stats", "--mkpath", "--ignore-errors", "--prune-empty-dirs", "--bwlimit", "--block-size", "--timeout",
	"--checksum-choice", "--compress-choice", "--compress-level", "--modify-window", "--max-size", "--min-size", "--max-delete",
	"--checksum-seed", "--new-compress", "--old-compress", "--open-noatime", "--sparse", "--one-file-system", "--iconv", "--suffix",
	"--log-format", "--out-format", "--info", "--debug", "--force-change", "--dirs", "--no-W", "--no-i-r", "--preallocate",
}

// hookRsync: what a client runs on the other host is `rsync --server [--sender] OPTIONS . PATH...`, and says in which
// direction the files go.
func hookRsync(c *call) bool {
	if len(c.args) > 0 && c.args[0].flags == 0 && c.args[0].text == "--server" {
		c.rsyncServer(c.args[1:])
		return true
	}
	c.scan()
	if c.why != "" {
		c.opaque(c.why)
	}
	if c.info || c.onlyInfo() {
		c.class = 0
		return true
	}
	c.doubts()
	return hookTransfer(c)
}

func (c *call) rsyncServer(args []arg) {
	c.class = Read
	sends := false
	for len(args) > 0 && strings.HasPrefix(args[0].text, "-") {
		if args[0].flags != 0 {
			c.opaque("an option of rsync --server is known only when it runs: " + args[0].text)
		}
		sends = c.rsyncServerOption(args[0].text) || sends
		args = args[1:]
	}
	if len(args) < 2 || args[0].text != "." {
		c.opaque("not how a client calls rsync --server")
	}
	if len(args) == 0 {
		return
	}
	for _, a := range args[1:] {
		if sends {
			c.read(a)
			continue
		}
		c.class |= Write
		c.f.Dynamic = true // the client names the files in it
		c.write(a)
		if c.class.Has(Destructive) {
			c.remove(a)
		}
	}
}

// rsyncServerOption looks at one option, and says whether it is --sender.
func (c *call) rsyncServerOption(s string) (sends bool) {
	name, _, _ := strings.Cut(s, "=")
	switch {
	case s == "--sender":
		return true
	case strings.HasPrefix(s, "--delete"), s == "--force", s == "--remove-source-files", s == "--remove-sent-files":
		c.class |= Destructive | Write
	case strings.HasPrefix(s, "--"):
		if !slices.Contains(rsyncServerLong, name) {
			c.opaque("an option of rsync --server that is not listed: " + name)
		}
	default:
		// A bundle of letters. What follows e are no letters but what the client can do.
		letters, can, _ := strings.Cut(s[1:], "e")
		if strings.Trim(letters, "abcdghiklmnoprstuvxzACDEFHIJKLNOPRSUWX0123456789y") != "" || strings.Trim(can, ".abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
			c.opaque("a bundle of options of rsync --server that is not understood: " + s)
		}
		if can != "" && can[0] != '.' && (can[0] < '0' || can[0] > '9') {
			c.opaque("rsync -e runs a program")
		}
	}
	return false
}

// scpServer: `scp -t PATH` takes what the client sends, `scp -f PATH...` sends it. It says whether it is one of them.
func (c *call) scpServer() bool {
	to, from := c.has("-t"), c.has("-f")
	if !to && !from {
		return false
	}
	c.class = Read
	if to && from || len(c.operands) == 0 || to && len(c.operands) != 1 {
		c.opaque("not how a client calls scp on the other host")
	}
	for _, a := range c.operands {
		if a.is(lead | unknown) {
			c.opaque("what " + c.label + " copies is known only when it runs: " + a.text)
		}
		if from {
			c.read(a)
		}
		if to {
			c.class |= Write
			c.f.Dynamic = true // the client names the files in it
			c.write(a)
		}
	}
	return true
}

// A Transfer is what a command does that a client of scp, rsync or git runs on the other host: it moves files between
// the two, and nothing else.
type Transfer struct {
	Program string
	Upload  bool     // the files go to the host
	Paths   []string // there
	Deletes bool     // what the client does not have is removed
}

// Transfer returns what f moves, or nil if it is no such command or not certainly so.
func (f *Facts) Transfer() *Transfer {
	if f.Opaque || len(f.Programs) != 1 || len(f.Redirects) > 0 {
		return nil
	}
	p := f.Programs[0]
	switch {
	case p.Name == "rsync" && len(p.Args) > 0 && p.Args[0] == "--server":
	case p.Name == "scp" && (slices.Contains(p.Args, "-t") || slices.Contains(p.Args, "-f")):
	case p.Name == "git-upload-pack" || p.Name == "git-receive-pack" || p.Name == "git-upload-archive":
	default:
		return nil
	}
	t := &Transfer{Program: p.Name, Upload: len(f.Writes) > 0, Paths: f.Reads, Deletes: len(f.Removes) > 0}
	if t.Upload {
		t.Paths = f.Writes
	}
	return t
}

// hookKube: secrets, and who may do what.
func hookKube(c *call) bool {
	verb := ""
	if len(c.chain) > 1 {
		verb = c.chain[1].name
	}
	if c.has("--raw") {
		c.class |= Privilege // any path of the API, or the credentials in a kubeconfig
	}
	for i, a := range c.operands {
		kind := strings.ToLower(a.text)
		for _, k := range strings.Split(kind, ",") {
			k, _, _ = strings.Cut(k, "/")
			k, _, _ = strings.Cut(k, ".")
			if i == 0 && k == "secret" || k == "secrets" || strings.HasPrefix(kind, "secret/") {
				c.class |= Privilege
			}
		}
		if i == 0 && (a.is(unknown) || a.is(lead)) {
			c.class |= Privilege
		}
		if verb != "get" && i == 0 && (strings.Contains(kind, "role") || strings.Contains(kind, "serviceaccount") || kind == "token" || kind == "sa") {
			c.class |= Privilege
		}
	}
	return false
}

// hookInstall: a mode that lets others in, or runs as the file's owner.
func hookInstall(c *call) bool {
	for _, g := range c.opts {
		if g.is("-m", "--mode") && (g.value.flags != 0 || opensUp(g.value.text)) {
			c.class |= Privilege
		}
	}
	return false
}
