package mask

import (
	"bytes"
	"slices"
	"strings"
)

// lineLook is how far before its anchor a detector of command lines looks for the command.
const lineLook = lookback - 16

// A flagRule says that a flag of some commands has a password.
type flagRule struct {
	flag     byte
	commands []string
	joined   bool   // the value may follow without a blank
	apart    bool   // the value may follow after a blank
	word     string // that has to stand in the command as well
	after    byte   // the password follows this byte of the value: user:password; 0: it is all of the value
}

var flagRules = []flagRule{
	{'p', strings.Fields("mysql mysqldump mysqladmin mysqlimport mysqlcheck mysqlshow mysqlsh mariadb mariadb-dump mariadb-admin"), true, false, "", 0},
	{'p', strings.Fields("sshpass"), true, true, "", 0},
	{'p', strings.Fields("docker podman buildah skopeo helm nerdctl az cf oc"), false, true, "login", 0},
	{'p', strings.Fields("mongo mongosh mongodump mongorestore"), false, true, "", 0},
	{'a', strings.Fields("redis-cli"), true, true, "", 0},
	{'w', strings.Fields("ldapsearch ldapmodify ldapadd ldapdelete ldapwhoami ldappasswd ldapcompare"), true, true, "", 0},
	{'P', strings.Fields("unzip zip sqlcmd bcp"), true, true, "", 0},
	{'k', strings.Fields("openssl"), false, true, "enc", 0},
	{'u', strings.Fields("curl"), true, true, "", ':'},
	{'U', strings.Fields("curl"), true, true, "", ':'},
	{'U', strings.Fields("smbclient rpcclient smbget"), true, true, "", '%'},
}

// flagLetters are the flags of flagRules.
var flagLetters = setOf(func(c byte) bool {
	return slices.ContainsFunc(flagRules, func(r flagRule) bool { return r.flag == c })
})

func commandDetector() *detector {
	letters := setOf(func(c byte) bool { return is(c, clAlpha) })
	return &detector{
		name: "command-password", version: 1, last4: false,
		anchors: []anchor{
			{laneEmail, [4]*[256]bool{bytesOf(" "), bytesOf("-"), letters, setAny}}, // where anything can follow anyway
			anchorOf(laneText, " --u"), anchorOf(laneText, " --p"), anchorOf(laneText, " /p:"), anchorFold(laneKeyword, "echo"),
		},
		find: findCommand,
	}
}

// findCommand looks for a password in a command line: behind a flag of a command that is known, or echoed into another.
func findCommand(w *window, i int) match {
	b := w.b
	if b[i] != ' ' {
		return findEchoed(w, i)
	}
	if i+3 >= len(b) {
		if w.final {
			return match{}
		}
		return undecided(len(b), len(b), len(b))
	}
	if b[i+1] != '-' && b[i+1] != '/' {
		return match{}
	}
	if b[i+1] == '/' {
		if b[i+2] != 'p' || b[i+3] != ':' {
			return match{}
		}
		if command := commandBefore(b, i); !bytes.Contains(command, []byte("freerdp")) && !bytes.Contains(command, []byte("mstsc")) {
			return match{}
		}
		return wordValue(w, i+4, 0, true)
	}
	flag, v := b[i+2], i+3
	if flag == '-' {
		long := " --user"
		if i+3 < len(b) && b[i+3] == 'p' {
			long = " --proxy-user"
		}
		n := min(len(b)-i, len(long))
		if string(b[i:i+n]) != long[:n] || n < len(long) && w.final {
			return match{}
		}
		if n < len(long) {
			return undecided(len(b), len(b), len(b))
		}
		flag, v = 'u', i+len(long)
	} else if u := joinedUser(b, v); u > v && bytes.HasSuffix(firstWord(commandBefore(b, i)), []byte("curl")) { // -sSu
		if u == len(b) && b[u-1] != 'u' && !w.final {
			return undecided(u, u, u)
		}
		flag, v = b[u-1], u
	}
	return findFlag(w, i, flag, v)
}

// joinedUser returns the end of the letters of flags from b[v] on: after the first u among them, or where b ends; v if there is
// neither.
func joinedUser(b []byte, v int) int {
	for u := v; u < v+7; u++ {
		switch {
		case u >= len(b):
			return u
		case !is(b[u], clAlpha) || b[v-1] == 'u':
			return v
		case b[u] == 'u':
			return u + 1
		}
	}
	return v
}

// findFlag looks for the value of a flag, which goes on or ends before b[v].
func findFlag(w *window, i int, flag byte, v int) match {
	if !flagLetters[flag] {
		return match{}
	}
	b := w.b
	command := commandBefore(b, i)
	for _, r := range flagRules {
		if r.flag != flag || !r.knows(command) {
			continue
		}
		if v >= len(b) {
			if w.final {
				return match{}
			}
			return undecided(v, len(b), len(b))
		}
		joined := r.joined && b[v] != ' ' && b[v] != '='
		switch {
		case b[v] == ' ' || b[v] == '=':
			if !r.apart {
				return match{}
			}
			v++
		case !r.joined:
			return match{}
		}
		return wordValue(w, v, r.after, joined)
	}
	return match{}
}

// commandBefore is the command that b[i] stands in, from its first word on.
func commandBefore(b []byte, i int) []byte {
	s := i
	for s > 0 && i-s < lineLook && b[s-1] >= ' ' && strings.IndexByte("|;&", b[s-1]) < 0 {
		s--
	}
	return b[s:i]
}

// firstWord is the last word of a prompt, or the first of a command; what matters is that one of the words is the
// command's name.
func firstWord(command []byte) []byte {
	for word := range bytes.FieldsSeq(command) {
		if w := word[bytes.LastIndexByte(word, '/')+1:]; string(w) == "curl" {
			return w
		}
	}
	return nil
}

// knows says whether one of the words of command is one of r's.
func (r *flagRule) knows(command []byte) bool {
	if !bytes.Contains(command, []byte(r.word)) {
		return false
	}
	for word := range bytes.FieldsSeq(command) {
		word = bytes.Trim(word[bytes.LastIndexByte(word, '/')+1:], "'\"`($)")
		for _, c := range r.commands {
			if string(word) == c {
				return true
			}
		}
	}
	return false
}

var wordEnds = setOf(func(c byte) bool { return c <= ' ' || c == 0x7f || strings.IndexByte("\"'`;&|)<>", c) >= 0 })

// wordValue is the word of a command line from b[v] on, without quotes; with after only what follows it. Where it is not joined
// to its flag, the word for it may be meant, as manuals write.
func wordValue(w *window, v int, after byte, joined bool) match {
	b := w.b
	quote := byte(0)
	if v < len(b) && (b[v] == '\'' || b[v] == '"') {
		quote = b[v]
		v++
	}
	from, end, seen := v, v, after == 0
	for end < len(b) && end-v < maxSecret {
		c := b[end]
		if quote != 0 && (c == quote || c < ' ') || quote == 0 && wordEnds[c] {
			break
		}
		if !seen && c == after {
			seen, from = true, end+1
		}
		end++
	}
	if end == len(b) && !w.final {
		if !seen {
			return undecided(end, end, end)
		}
		return undecided(from, from, from)
	}
	value := b[from:end]
	if !seen || from < w.floor || len(value) < 2 || value[0] == '-' || isPlaceholder(value) || !joined && wordNames[string(value)] || value[0] == '$' && quote != '\'' {
		return match{}
	}
	return found(from, from, end)
}

// findEchoed looks for a password that is echoed into a command that reads it.
func findEchoed(w *window, i int) match {
	const look = 128
	b := w.b
	if i > 0 && isWord(b[i-1]) {
		return match{}
	}
	const echo = "echo"
	n := min(len(b)-i, len(echo))
	if !bytes.EqualFold(b[i:i+n], []byte(echo)[:n]) {
		return match{}
	}
	v := i + len(echo)
	if v >= len(b) && !w.final {
		return undecided(len(b), len(b), len(b))
	}
	if v >= len(b) || b[v] != ' ' {
		return match{}
	}
	if v++; v+2 < len(b) && b[v] == '-' && (b[v+1] == 'n' || b[v+1] == 'e') && b[v+2] == ' ' {
		v += 3
	}
	quote := byte(0)
	if v < len(b) && (b[v] == '\'' || b[v] == '"') {
		quote = b[v]
		v++
	}
	end := v
	for end < len(b) && end-v < look && (quote == 0 && !wordEnds[b[end]] || quote != 0 && b[end] != quote && b[end] >= ' ') {
		end++
	}
	t := end
	for t < len(b) && t-end < look && b[t] >= ' ' {
		t++
	}
	pipe := bytes.IndexByte(b[end:t], '|')
	if t == len(b) && t-end < look && !w.final {
		if pipe < 0 && t-end > 4 {
			return match{}
		}
		return undecided(v, min(v, len(b)), len(b)) // shown when time runs out: most that is echoed is no secret
	}
	if pipe < 0 || end-v < 2 || v < w.floor || isPlaceholder(b[v:end]) || b[v] == '$' {
		return match{}
	}
	rest := b[end+pipe : t]
	for _, reader := range []string{"sudo -S", "--password-stdin", "passwd --stdin", "chpasswd", "su -c", "cryptsetup"} {
		if bytes.Contains(rest, []byte(reader)) {
			return found(v, v, end)
		}
	}
	return match{}
}

// pgpassDetector knows the lines of libpq's password file: host:port:database:user:password.
func pgpassDetector() *detector {
	return &detector{
		name: "pgpass", version: 1,
		anchors: []anchor{
			{laneText, [4]*[256]bool{bytesOf(":"), bytesOf("*"), bytesOf(":"), setAny}},
			{laneText, [4]*[256]bool{bytesOf(":"), bytesOf("56"), setDigit, setDigit}},
		},
		find: findPgpass,
	}
}

func findPgpass(w *window, i int) match {
	b, h := w.b, i
	for h > 0 && i-h < lineLook && b[h-1] > ' ' && b[h-1] != ':' {
		h--
	}
	if h == i || h > 0 && b[h-1] != '\n' || !isHost(b[h:i]) {
		return match{}
	}
	t := i + 1
	for colons := 0; colons < 3; t++ {
		if t >= len(b) {
			if w.final {
				return match{}
			}
			return undecided(t, t, t)
		}
		switch c := b[t]; {
		case c == ':':
			colons++
		case c <= ' ' || colons == 0 && !is(c, clDigit) && c != '*':
			return match{}
		}
	}
	end := t
	for end < len(b) && b[end] > ' ' && end-t < 256 {
		end++
	}
	if end == len(b) && !w.final {
		return undecided(t, t, t)
	}
	if t == end || t < w.floor || end < len(b) && b[end] != '\n' && b[end] != '\r' || isPlaceholder(b[t:end]) {
		return match{}
	}
	return found(t, t, end)
}

// isHost says whether v can be the host of such a line: a name with letters, an address, or *.
func isHost(v []byte) bool {
	if string(v) == "*" {
		return true
	}
	letters := false
	for _, c := range v {
		if !is(c, clAlnum) && c != '.' && c != '-' && c != '_' && c != '/' {
			return false
		}
		letters = letters || is(c, clAlpha) && !is(c, clHex)
	}
	return letters || bytes.IndexByte(v, '.') >= 0
}
