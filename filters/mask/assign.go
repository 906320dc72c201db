package mask

import (
	"bytes"
	"strings"
)

// maxSecret is the longest value of an assignment that is waited for.
const maxSecret = 2 << 10

// Kinds of keys: what is said of a value before it is taken for a secret.
type keyKind uint8

const (
	keyNone     keyKind = iota
	keyPassword         // any value that is no placeholder and no code
	keyWeak             // "pass", which is also a verb: values that look made up
	keySecret           // tokens and keys: values that look made up
	keyHeader           // Authorization: a scheme and a value
	keyBearer           // Bearer and a value
	keyIdentify         // IDENTIFIED BY
)

// keyKinds are the ends of the names of secrets, without what separates their words, in lower case.
var keyKinds = func() map[string]keyKind {
	m := map[string]keyKind{"pass": keyWeak, "authorization": keyHeader, "bearer": keyBearer, "identified": keyIdentify}
	for _, k := range strings.Fields("password passwd passphrase passcode passwort pwd passwordvalue password1 secretpassword") {
		m[k] = keyPassword
	}
	for _, k := range strings.Fields(`secret secrets secretkey secretaccesskey secretvalue secrettoken secretkeybase token tokens tokenvalue
		tokensecret tokenkey apikey apikeys apitoken apisecret apisecretkey apikeysecret apiaccesskey accesskey accesskeys accesstoken accesskeysecret
		accesstokensecret accountkey privatekey privatetoken authkey authtoken authcode authsecret credential credentials sessionid
		sessiontoken sessionkey sessionsecret session encryptionkey signingkey signingsecret masterkey clientsecret clientkey
		sharedaccesskey sharedaccesssignature sharedsecret webhooksecret jwtsecret jsessionid phpsessid`) {
		m[k] = keySecret
	}
	return m
}()

// assignKeys are how the keys of keyKinds start.
var assignKeys = strings.Fields("pass pwd secr toke apik api_ api- acce acco priv auth cred sess encr sign mast clie shar bear jses phps iden")

func assignDetector() *detector {
	var as []anchor
	for _, k := range assignKeys {
		a := anchorFold(laneAssign, k)
		if len(k) < len(a.at) {
			a.at[len(k)] = afterKey
		}
		as = append(as, a)
	}
	return &detector{name: "secret", version: 1, anchors: as, last4: true, find: findAssign}
}

// An assign is an assignment as far as it has been read.
type assign struct {
	w      *window
	i      int // reading position
	kind   keyKind
	key    []byte // as it is written from the keyword on
	quoted bool   // the key is
	flag   bool   // the key is a command-line flag
	spaced bool   // blanks stand around the separator
	colon  bool   // the separator is a colon
	start  int    // of the whole name
	cut    bool   // the window ended
}

// at returns the byte k after the reading position.
func (a *assign) at(k int) byte {
	if a.i+k >= len(a.w.b) {
		a.cut = true
		return 0
	}
	return a.w.b[a.i+k]
}

// findAssign looks for the value of a secret: name=value, "name": "value", name: value, --name value.
func findAssign(w *window, i int) match {
	a := assign{w: w, i: i}
	if !a.readKey(i) || !a.readSeparator() || a.kind == keyHeader && !a.colon && !a.quoted {
		if a.cut && !w.final {
			return undecided(len(w.b), len(w.b), len(w.b))
		}
		return match{}
	}
	if a.i < w.floor {
		return match{}
	}
	m := a.value()
	if a.cut && !w.final {
		from := min(a.i, len(w.b))
		if m.from > from {
			from = m.from
		}
		return undecided(from, from, from)
	}
	return m
}

// afterKey is what can follow a name.
var afterKey = bytesOf("0123456789_-:=\"'`\\> \t")

func isKeyByte(c byte) bool { return isWord(c) || c == '-' }

func (a *assign) readKey(i int) bool {
	b := a.w.b
	const most = 48
	end := i
	for end < len(b) && end-i < most && isKeyByte(b[end]) {
		end++
	}
	if end == len(b) {
		a.cut = true
		return false
	}
	if !afterKey[b[end]] || b[end] == ' ' && end+1 < len(b) && is(b[end+1], clAlnum) && b[i]|0x20 != 'b' && b[i]|0x20 != 'i' && !a.isFlag(i) {
		return false
	}
	var norm [most]byte
	n := 0
	for _, c := range b[i:end] {
		if is(c, clAlnum) {
			norm[n] = lower(c)
			n++
		}
	}
	for n > 0 && is(norm[n-1], clDigit) {
		n--
	}
	a.kind = keyKinds[string(norm[:n])]
	a.key, a.i, a.start = b[i:end], end, i
	for k := 0; k < most && a.start > 0 && isKeyByte(b[a.start-1]); k++ {
		a.start--
	}
	return a.kind != keyNone
}

// beforeFlag is what can stand before a flag; a backslash is roff's, which writes its dashes so.
var beforeFlag = setOf(func(c byte) bool { return !isKeyByte(c) && c != '\\' })

// isFlag says whether the name that goes on at i is a command-line flag.
func (a *assign) isFlag(i int) bool {
	for k := 0; k < 48 && i > 0 && isKeyByte(a.w.b[i-1]); k++ {
		i--
	}
	return i > 0 && a.w.b[i] == '-' && beforeFlag[a.w.b[i-1]]
}

// readSeparator reads what stands between the name and the value.
func (a *assign) readSeparator() bool {
	c := a.at(0)
	if c == '\\' {
		a.i++
		c = a.at(0)
	}
	if c == '"' || c == '\'' || c == '`' {
		a.quoted = true
		a.i++
		if a.at(0) == ']' {
			a.i++
		}
	}
	blanks := a.blanks()
	switch c := a.at(0); {
	case a.cut:
		return false
	case a.kind == keyBearer:
		return blanks == 1
	case a.kind == keyIdentify:
		return a.identifiedBy()
	case c == '>' && blanks == 0 && !a.quoted:
		a.i++
		return a.kind != keyHeader
	case c == '=' || c == ':':
		return a.readSign(blanks)
	}
	if blanks == 0 {
		return false
	}
	b := a.w.b
	a.flag = a.start > 0 && b[a.start] == '-' && beforeFlag[b[a.start-1]] && a.at(0) != '-'
	sql := a.kind == keyPassword && a.at(0) == '\''
	return a.flag || sql
}

// readSign reads = or :, with blanks after it, and not ==, =~, ::.
func (a *assign) readSign(blanks int) bool {
	a.colon = a.at(0) == ':'
	a.i++
	switch c := a.at(0); {
	case c == '=' && a.colon, c == '>' && !a.colon: // := and =>
		a.i++
	case c == '=', c == '~', c == ':':
		return false
	}
	after := a.blanks()
	a.spaced = blanks+after > 0
	return !a.cut
}

func (a *assign) identifiedBy() bool {
	const by = "by "
	for k := range len(by) {
		if lower(a.at(k)) != by[k] {
			return false
		}
	}
	a.i += len(by)
	a.blanks()
	return a.at(0) == '\''
}

// blanks skips at most eight blanks.
func (a *assign) blanks() int {
	n := 0
	for n < 8 && (a.at(0) == ' ' || a.at(0) == '\t') {
		a.i++
		n++
	}
	return n
}

// value reads the value and decides.
func (a *assign) value() match {
	q := a.at(0)
	escaped := q == '\\' && (a.at(1) == '"' || a.at(1) == '\'')
	if escaped {
		a.i++
		q = a.at(0)
	}
	if q == '"' || q == '\'' || q == '`' {
		a.i++
		return a.quotedValue(q, escaped)
	}
	if a.kind == keyHeader {
		return a.headerValue(func(c byte) bool { return c <= ' ' || c == '"' || c == '\'' })
	}
	return a.bareValue()
}

// quotedValue reads up to the quote q.
func (a *assign) quotedValue(q byte, escaped bool) match {
	b := a.w.b
	end := a.i
	for ; ; end++ {
		if end-a.i > maxSecret {
			return match{}
		}
		if end >= len(b) {
			a.cut = true
			if a.kind == keyHeader {
				break
			}
			return match{from: a.i}
		}
		c := b[end]
		if c < ' ' && c != '\t' {
			return match{}
		}
		if c == '\\' && !escaped && end+1 < len(b) {
			end++
			continue
		}
		if c == q || escaped && c == '\\' {
			break
		}
	}
	if a.kind == keyHeader {
		return a.headerValue(func(c byte) bool { return c <= ' ' || c == q || c == '\\' })
	}
	v := b[a.i:min(end, len(b))]
	if !a.quotedSecret(v, q) {
		return match{}
	}
	return found(a.i, a.i, end)
}

// quotedSecret says whether v, which stood in quotes, is a secret.
func (a *assign) quotedSecret(v []byte, q byte) bool {
	data := a.quoted && q == '"' || q == '\''
	if isPlaceholder(v) && !(data && len(v) > 1 && v[0] == '$' && !isPlaceholder(v[1:])) || bytes.EqualFold(v, a.key) {
		return false
	}
	blank := bytes.IndexByte(v, ' ') >= 0
	switch a.kind {
	case keyPassword, keyIdentify:
		return !blank || a.quoted || lower(a.key[len(a.key)-1]) == 'e'
	case keyWeak:
		return !blank && len(v) >= 4
	}
	return !blank && looksMade(v)
}

// headerValue reads the value of an Authorization header: a scheme, a blank and the credentials, or these
// alone.
func (a *assign) headerValue(ends func(c byte) bool) match {
	b := a.w.b
	word := func(s int) int {
		for s < len(b) && s-a.i < maxSecret && !ends(b[s]) {
			s++
		}
		return s
	}
	from, scheme := a.i, false
	end := word(from)
	if end < len(b) && b[end] == ' ' && isName(b[from:end]) {
		from, scheme = end+1, true
		end = word(from)
	}
	if end >= len(b) {
		a.cut = true
	}
	if v := b[min(from, end):end]; len(v) < 4 || isPlaceholder(v) || isName(v) && len(v) < 12 || !scheme && !looksMade(v) {
		return match{from: from}
	}
	return found(from, from, end)
}

// bareEnds ends a value without quotes.
var bareEnds = setOf(func(c byte) bool { return c <= ' ' || c == 0x7f || bytes.IndexByte([]byte("\"'`,;&|)<>]}"), c) >= 0 })

// bareValue reads a value without quotes.
func (a *assign) bareValue() match {
	b := a.w.b
	end := a.i
	for end < len(b) && !bareEnds[b[end]] && end-a.i <= maxSecret {
		if b[end] == '\\' {
			if end+1 >= len(b) {
				a.cut = true
				return match{from: a.i}
			}
			if bytes.IndexByte([]byte(`nrt"'`), b[end+1]) >= 0 {
				break
			}
		}
		end++
	}
	if end-a.i > maxSecret {
		return match{}
	}
	if end >= len(b) {
		a.cut = true
		if !a.w.final {
			return match{from: a.i}
		}
	}
	v := b[a.i:end]
	if isPlaceholder(v) || bytes.EqualFold(v, a.key) || bytes.IndexByte(v, '(') >= 0 || bytes.Contains(v, []byte("->")) || bytes.Contains(v, []byte("::")) {
		return match{}
	}
	next := byte('\n')
	if end < len(b) {
		next = b[end]
	}
	if next == '"' || next == '\'' || next == '`' {
		if !a.insideQuotes(next) && !looksMade(v) {
			return match{} // f"...", code
		}
	}
	if a.colon && !a.spaced && len(a.key) == len("secret") && len(v) == tokenDigits && allHex(v) {
		return match{} // a token of our own
	}
	if !a.bareSecret(v, next, end) {
		return match{}
	}
	return found(a.i, a.i, end)
}

// insideQuotes says whether the assignment itself stands in quotes q, as in -H "token: v".
func (a *assign) insideQuotes(q byte) bool {
	b, n := a.w.b, 0
	for k := a.start - 1; k >= 0 && k > a.start-lookback/2 && b[k] != '\n'; k-- {
		if b[k] == q {
			n++
		}
	}
	return n%2 == 1
}

// bareSecret says whether v, which stood without quotes and before next, is a secret.
func (a *assign) bareSecret(v []byte, next byte, end int) bool {
	switch a.kind {
	case keyBearer:
		return len(v) >= 16 && looksMade(v)
	case keyWeak:
		return len(v) >= 6 && mixedKinds(v) >= 2 && !a.spaced
	case keySecret:
		return looksMade(v) && (!a.spaced || !isName(v))
	}
	name := isName(v)
	if bytes.HasPrefix(v, []byte("/")) || bytes.HasPrefix(v, []byte("./")) || next == '>' {
		return false // PWD=/home, password_file
	}
	if a.flag {
		return !wordNames[string(v)] && v[0] != '\\' && v[0] != '-'
	}
	if a.colon && !a.spaced && bytes.IndexByte(v, ':') >= 0 {
		return false // passwd:x:0:0
	}
	if name && (next == ',' || next == ')' || next == ']' || next == '}' || next == '<' && !a.xml()) || typeNames[strings.ToLower(string(v))] {
		return false
	}
	if !a.spaced {
		return len(v) >= 2
	}
	if name && (bytes.IndexByte(v, '.') >= 0 || !a.ownLine(end)) {
		return false
	}
	return a.ownLine(end) || mixedKinds(v) >= 2 && (next == ',' || next == ' ' && mixedKinds(v) >= 3)
}

func allHex(v []byte) bool { return span(v, 0, clHex, len(v)) == len(v) }

func (a *assign) xml() bool { return a.i > 0 && a.w.b[a.i-1] == '>' }

// ownLine says whether the assignment is all there is on its line, as in YAML and INI files.
func (a *assign) ownLine(end int) bool {
	b := a.w.b
	if end < len(b) && b[end] != '\n' && b[end] != '\r' {
		return false
	}
	k := a.start
	for n := 0; k > 0 && n < 40 && (b[k-1] == ' ' || b[k-1] == '\t' || b[k-1] == '-'); n++ {
		k--
	}
	return k == 0 || b[k-1] == '\n' || b[k-1] == '\r' || b[k-1] == '.'
}

// typeNames are what stands after a colon in declarations and schemas.
var typeNames = func() map[string]bool {
	m := map[string]bool{}
	for _, n := range strings.Fields(`string str text bytes byte bool boolean number int integer any null none nil undefined required optional
		true false hidden varchar char object array self yes no on off empty prompt ask md5 trust scram-sha-256 peer ident`) {
		m[n] = true
	}
	return m
}()

// wordNames are what documents write in the place of a secret.
var wordNames = func() map[string]bool {
	m := map[string]bool{}
	for _, n := range strings.Fields("password passwd pass pwd passphrase phrase secret token key value string file filename name user path data word PASSWORD PASSWD PASS TOKEN SECRET KEY VALUE STRING FILE from") {
		m[n] = true
	}
	return m
}()

// mixedKinds counts the kinds of bytes in v: small, capital, digit, other.
func mixedKinds(v []byte) int {
	var small, capital, digit, other int
	for _, c := range v {
		switch {
		case is(c, clLower):
			small = 1
		case is(c, clUpper):
			capital = 1
		case is(c, clDigit):
			digit = 1
		case c != '_' && c != '-' && c != '.' && c != '/':
			other = 1
		}
	}
	return small + capital + digit + other
}

// looksMade says whether v looks made by a machine or for secrecy: long, and no name, path or number.
func looksMade(v []byte) bool {
	if len(v) < 8 || isName(v) && (len(v) < 20 || bytes.IndexByte(v, '_') >= 0 || bytes.IndexByte(v, '.') >= 0 || mixedKinds(v) < 2) {
		return false
	}
	if v[0] == '/' || v[0] == '.' || v[0] == '\\' || v[0] == '-' || v[0] == '&' || v[0] == '*' || bytes.Contains(v, []byte("://")) {
		return false
	}
	kinds := mixedKinds(v)
	if !hasDigit(v) {
		return kinds >= 2 && len(v) >= 16 && !isSlug(v)
	}
	if kinds == 1 { // a number
		return false
	}
	return len(v) >= 16 || !isSlug(v)
}

// isSlug says whether v is words with dashes, underscores, slashes and a number at its end, as names of
// things are.
func isSlug(v []byte) bool {
	n := len(v)
	for n > 0 && is(v[n-1], clDigit) {
		n--
	}
	for _, c := range v[:n] {
		if !is(c, clAlpha) && c != '-' && c != '_' && c != '.' && c != '/' && c != ':' {
			return false
		}
	}
	return true
}
