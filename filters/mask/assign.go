package mask

import (
	"bytes"
	"slices"
	"strings"
)

// maxSecret is the longest value of an assignment that is waited for.
const maxSecret = 2 << 10

// Kinds of keys: what is said of a value before it is taken for a secret.
type keyKind uint8

const (
	keyNone      keyKind = iota
	keyPassword          // any value that is no placeholder and no code
	keyWeak              // "pass", which is also a verb: values that look made up
	keySecret            // tokens and keys: values that look made up
	keyHeader            // Authorization: a scheme and a value
	keyBearer            // Bearer and a value
	keyIdentify          // IDENTIFIED BY
	keyAuth              // "auth" of Docker, _auth of npm: base64
	keySignature         // sig of a URL that grants access
)

// keyKinds are the ends of the names of secrets, without what separates their words, in lower case.
var keyKinds = func() map[string]keyKind {
	m := map[string]keyKind{"pass": keyWeak, "authorization": keyHeader, "bearer": keyBearer, "identified": keyIdentify}
	m["auth"], m["sig"] = keyAuth, keySignature
	for _, k := range strings.Fields("password passwd passphrase passcode passwort pwd passwordvalue password1 secretpassword") {
		m[k] = keyPassword
	}
	for _, k := range strings.Fields(`secret secrets secretkey secretaccesskey secretvalue secrettoken secretkeybase token tokens tokenvalue
		tokensecret tokenkey apikey apikeys apitoken apisecret apisecretkey apikeysecret apiaccesskey accesskey accesskeys accesstoken accesskeysecret
		accesstokensecret accountkey privatekey privatetoken authkey authtoken authcode authsecret credential credentials sessionid
		sessiontoken sessionkey sessionsecret session encryptionkey signingkey signingsecret masterkey clientsecret clientkey
		sharedaccesskey sharedaccesssignature sharedsecret webhooksecret jwtsecret jsessionid phpsessid refreshtoken`) {
		m[k] = keySecret
	}
	return m
}()

// assignKeys are how the keys of keyKinds start.
var assignKeys = strings.Fields("pass pwd secr toke apik api_ api- acce acco priv auth cred sess encr sign mast clie shar bear jses phps iden sig")

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
	loose  bool   // it is a call, of which many have no secret
	spoken bool   // it is a sentence
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
var afterKey = bytesOf("0123456789_-:=\"'`\\>( \t")

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
	if !afterKey[b[end]] || b[end] == ' ' && end+1 < len(b) && is(b[end+1], clAlnum) && b[i]|0x20 != 'b' && b[i]|0x20 != 'i' && b[i]|0x20 != 'p' && !a.isFlag(i) && !a.isSet(i) {
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
	switch a.kind {
	case keyAuth:
		return a.start == i && i > 0 && b[i-1] == '"' || a.start == i-1 && b[i-1] == '_'
	case keySignature:
		return i > 0 && (b[i-1] == '?' || b[i-1] == '&')
	}
	scoped := a.start > 1 && b[a.start-1] == ':' && b[a.start-2] == ':' // Some::Pass
	return a.kind != keyNone && !scoped
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

// isSet says whether the name that goes on at i is set by a command: setenv NAME value, ENV NAME value, #define NAME.
func (a *assign) isSet(i int) bool {
	b := a.w.b
	for k := 0; k < 48 && i > 0 && isKeyByte(b[i-1]); k++ {
		i--
	}
	if i < 2 || b[i-1] != ' ' || !setterEnds[b[i-2]] {
		return false
	}
	for _, word := range setters {
		if bytes.HasSuffix(b[:i], word) && (i == len(word) || !isWord(b[i-len(word)-1])) {
			return true
		}
	}
	return false
}

// setters are what stands before such a name. The values of #define, the one that ends in e, are in quotes.
var setters = [][]byte{[]byte("setenv "), []byte("setx "), []byte("ENV "), []byte("set -x "), []byte("set -gx "), []byte("set -Ux "), []byte("#define ")}

// setterEnds are their last bytes.
var setterEnds = setOf(func(c byte) bool {
	return slices.ContainsFunc(setters, func(w []byte) bool { return w[len(w)-2] == c })
})

// readSeparator reads what stands between the name and the value.
func (a *assign) readSeparator() bool {
	c := a.at(0)
	for n := 0; c == '\\' && n < 3; n++ {
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
	case c == ',' && a.quoted:
		return a.readArgument()
	case c == '(' && a.kind == keyPassword && !a.quoted && blanks == 0 && a.at(1) == '\'':
		a.i++
		a.loose = true
		return true
	}
	if blanks == 0 {
		return false
	}
	if a.quoted {
		return a.readText("value=") && (a.at(0) == '"' || a.at(0) == '\'')
	}
	if a.readIs() {
		return true
	}
	b := a.w.b
	a.flag = a.start > 0 && (b[a.start] == '-' && beforeFlag[b[a.start-1]] && a.at(0) != '-' || a.isSet(a.start) && (b[a.start-2] != 'e' || a.at(0) == '"'))
	sql := a.kind == keyPassword && a.at(0) == '\''
	return a.flag || sql || a.readFor() || a.netrc()
}

// readText reads text, in either case.
func (a *assign) readText(text string) bool {
	for k := range len(text) {
		if lower(a.at(k)) != text[k] {
			return false
		}
	}
	a.i += len(text)
	return true
}

// readArgument reads the comma of define('PASSWORD', 'value').
func (a *assign) readArgument() bool {
	if a.start < 2 || a.w.b[a.start-2] != '(' {
		return false
	}
	a.i++
	a.blanks()
	a.loose = true
	return a.at(0) == '\'' || a.at(0) == '"'
}

// readIs reads the words of "the password is: value".
func (a *assign) readIs() bool {
	i := a.i
	if a.kind == keyPassword && a.readText("is") {
		if a.at(0) == ':' {
			a.i++
		}
		if a.blanks() > 0 {
			a.spoken = true
			return true
		}
	}
	a.i = i
	return false
}

// readFor reads the account of SET PASSWORD FOR account = 'value'.
func (a *assign) readFor() bool {
	i := a.i
	if a.kind == keyPassword && a.readText("for ") {
		for k := range 80 {
			switch a.at(k) {
			case '=':
				a.i += k + 1
				a.blanks()
				return a.at(0) == '\''
			case 0, '\n', ';':
				a.i = i
				return false
			}
		}
	}
	a.i = i
	return false
}

// netrc says whether the name stands in a .netrc: after a login, on the same line or the one before.
func (a *assign) netrc() bool {
	b := a.w.b
	if string(a.key) != "password" {
		return false
	}
	before := b[max(0, a.start-lookback/2):a.start]
	line := before[bytes.LastIndexByte(before, '\n')+1:]
	if len(bytes.TrimSpace(line)) == 0 && len(before) > len(line) {
		before = before[:len(before)-len(line)-1]
		line = before[bytes.LastIndexByte(before, '\n')+1:]
	}
	if line = bytes.TrimRight(line, " \t\r"); bytes.Contains(line, []byte("login ")) && bytes.IndexByte(line, ',') < 0 {
		fields := bytes.Fields(line)
		a.flag = len(fields) >= 2 && string(fields[len(fields)-2]) == "login"
	}
	return a.flag
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
	a.skipType()
	if m, ok := a.block(); ok {
		return m
	}
	q := a.at(0)
	escaped := false
	for n := 0; n < 3 && q == '\\' && (a.at(1) == '"' || a.at(1) == '\'' || a.at(1) == '\\'); n++ {
		a.i++
		q = a.at(0)
		escaped = true
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

// skipType skips what stands between a name and its value: the tag of YAML (!secret value), or the type of a
// declaration (name: string = value).
func (a *assign) skipType() {
	i := a.i
	if a.at(0) == '!' {
		a.i++
	}
	n := 0
	for n < 24 && is(a.at(n), clAlnum) {
		n++
	}
	tag := a.i > i
	if !a.colon || n == 0 {
		a.i = i
		return
	}
	a.i += n
	blanks := a.blanks()
	if tag && blanks > 0 {
		return
	}
	if c := a.at(0); tag || c != '=' || a.at(1) == '=' {
		a.i = i
		return
	}
	a.i++
	a.colon, a.spaced = false, a.blanks() > 0
}

// block reads the value after | or > in YAML: the lines below that stand further in than the first of them, or as far.
func (a *assign) block() (match, bool) {
	const most = 4 << 10
	b := a.w.b
	if c := a.at(0); !a.colon || c != '|' && c != '>' {
		return match{}, false
	}
	k := 1
	for k < 3 && (a.at(k) == '-' || a.at(k) == '+' || is(a.at(k), clDigit)) {
		k++
	}
	if a.at(k) == '\r' {
		k++
	}
	if a.at(k) != '\n' {
		return match{from: a.i}, a.cut
	}
	from := span(b, a.i+k+1, clSpace, 64)
	indent := from - 1 - bytes.LastIndexByte(b[:from], '\n')
	end := from
	for i := from; ; {
		nl := bytes.IndexByte(b[i:], '\n')
		if nl < 0 {
			a.cut = true
			end = len(bytes.TrimRight(b, " \r\n"))
			break
		}
		if end = len(bytes.TrimRight(b[:i+nl], " \r\n")); end-from > most {
			return match{}, true
		}
		i += nl + 1
		if next := span(b, i, clSpace, indent); next-i < indent && next < len(b) {
			break
		}
	}
	if from >= end || indent == 0 || isPlaceholder(b[from:end]) || b[from] == '<' || bytes.HasPrefix(b[from:end], []byte("-----")) {
		return match{from: min(from, len(b))}, true
	}
	m := found(from, from, max(end, from))
	m.lines = true
	return m, true
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
	if n := len(v) - len(a.key); n > 0 && bytes.EqualFold(v[n:], a.key) && isName(v) {
		return false // "challengePassword"
	}
	blank := bytes.IndexByte(v, ' ') >= 0
	if a.loose && (mixedKinds(v) < 2 || blank) || a.spoken && mixedKinds(v) < 3 {
		return false
	}
	switch a.kind {
	case keyAuth:
		return len(v) >= 12 && len(v)%4 == 0 && span(v, 0, clB64, len(v)) == len(v) && mixedKinds(v) >= 2
	case keyPassword, keyIdentify:
		return !blank || a.flag || a.quoted || a.isEnv() || lower(a.key[len(a.key)-1]) == 'e'
	case keyWeak:
		return !blank && len(v) >= 4
	}
	return !blank && looksMade(v)
}

// isEnv says whether it is NAME='value' of a shell or a .env.
func (a *assign) isEnv() bool {
	return !a.spaced && !a.colon && bytes.Equal(a.key, bytes.ToUpper(a.key)) && a.i > 0
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
	if v := b[min(from, end):end]; len(v) < 4 || isPlaceholder(v) || isName(v) && len(v) < 12 || !scheme && (!looksMade(v) || isCall(v)) {
		return match{from: from}
	}
	return found(from, from, end)
}

// isCall says whether v starts like the call of a function.
func isCall(v []byte) bool {
	k := bytes.IndexByte(v, '(')
	return k > 0 && isName(v[:k])
}

// bareEnds ends a value without quotes.
var bareEnds = setOf(func(c byte) bool { return c <= ' ' || c == 0x7f || bytes.IndexByte([]byte("\"'`,;&|)<>]}"), c) >= 0 })

// bareValue reads a value without quotes.
func (a *assign) bareValue() match {
	b := a.w.b
	end := a.i
	query := a.start > 0 && (b[a.start-1] == '?' || b[a.start-1] == '&')
	for end < len(b) && !bareEnds[b[end]] && end-a.i <= maxSecret && !(query && b[end] == '#') {
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
	if a.isCode(v, next) {
		return match{}
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

// isCode says whether v, which stood without quotes and before next, is an expression of a program.
func (a *assign) isCode(v []byte, next byte) bool {
	open := bytes.IndexByte(v, '[')
	if open > 0 && (a.spaced || next == ']' && isName(v[:open])) { // an index, a type
		return true
	}
	if !a.spaced {
		return false
	}
	identifier, dollars := true, 0
	for _, c := range v {
		identifier = identifier && (isWord(c) || c == '.' || c == '$')
		if c == '$' {
			dollars++
		}
	}
	last := v[bytes.LastIndexByte(v, '.')+1:]
	member := a.start > 0 && a.w.b[a.start-1] == '.'
	return identifier && (dollars > 1 || member && isName(v) && bytes.IndexByte(v, '_') >= 0 ||
		a.colon && len(last) < len(v) && len(last) > 0 && is(last[0], clUpper) && isName(v[:1]))
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
	if a.spoken {
		return mixedKinds(v) >= 3 && len(v) >= 6
	}
	switch a.kind {
	case keyAuth:
		return len(v) >= 12 && len(v)%4 == 0 && span(v, 0, clB64, len(v)) == len(v) && mixedKinds(v) >= 2
	case keyBearer:
		return len(v) >= 16 && looksMade(v)
	case keyWeak:
		return len(v) >= 6 && mixedKinds(v) >= 2 && !a.spaced
	case keySecret:
		if a.isFlag(a.start) && len(v) >= 8 && hasDigit(v) && mixedKinds(v) >= 2 && v[0] != '/' && v[0] != '.' {
			return true
		}
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
	return a.ownLine(end) || mixedKinds(v) >= 2 && (next == ',' || next == '}' || next == ' ' && mixedKinds(v) >= 3) ||
		(next == '\n' || next == '\r') && len(v) >= 6 && (hasDigit(v) && mixedKinds(v) >= 2 || mixedKinds(v) >= 3)
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
	for _, n := range strings.Fields("password passwd pass pwd passphrase phrase secret token key value string file filename name user path data word option options flag parameter argument and or PASSWORD PASSWD PASS TOKEN SECRET KEY VALUE STRING FILE from") {
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
