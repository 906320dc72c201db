package mask

import "strings"

const (
	cardMin, cardMax = 12, 19
	cardPublic       = 6 // PCI DSS 3.4.1: at most the first six and the last four may be shown
)

func cardDetector() *detector {
	return &detector{
		name: "card", version: 1,
		anchors: afterAny(anchor{laneNumber, [4]*[256]bool{setNonWord, bytesOf("12345689"), setDigit, setDigit}}),
		find:    findCard,
		keep:    setOf(func(c byte) bool { return numberGlue(c) || c >= 0x80 }),
		last4:   true,
		norm:    digitsOf,
	}
}

// numberGlue says whether c can stand between the groups of a number.
func numberGlue(c byte) bool { return c == ' ' || c == '-' || c == '.' }

// glueAt is the length of what can stand between groups at b[i]: one of these, or a blank or dash that does not break a line
// (U+00A0, U+2007, U+2011, U+2013, U+202F). Cut says that b ends in it.
func glueAt(b []byte, i int) (n int, cut bool) {
	switch c := b[i]; {
	case numberGlue(c):
		return 1, false
	case c == 0xc2:
		if i+1 >= len(b) {
			return 0, true
		}
		if b[i+1] == 0xa0 {
			return 2, false
		}
	case c == 0xe2:
		if i+1 >= len(b) || b[i+1] == 0x80 && i+2 >= len(b) {
			return 0, true
		}
		if b[i+1] == 0x80 && (b[i+2] == 0x87 || b[i+2] == 0x91 || b[i+2] == 0x93 || b[i+2] == 0xaf) {
			return 3, false
		}
	}
	return 0, false
}

// A digitRun is a number as it is written: digits in groups with one kind of separator between them.
type digitRun struct {
	d      [cardMax + 1]byte // values of the digits, one more than a card has
	end    [cardMax + 1]int  // index after each digit
	n      int               // digits
	groups [8]struct{ n, size int }
	ng     int
	sep    byte // the last byte of it; 0: one group
	cut    bool // the window ended before the run did
	closed bool // it did so after a separator
}

// read reads the run that starts at s. It stops after cardMax+1 digits.
func (r *digitRun) read(b []byte, s int) {
	i, size := s, 0
	for {
		for i < len(b) && is(b[i], clDigit) && r.n <= cardMax {
			r.d[r.n], r.end[r.n] = b[i]-'0', i+1
			r.n++
			i++
			size++
		}
		if r.n > cardMax || r.ng == len(r.groups) {
			return
		}
		r.groups[r.ng].n, r.groups[r.ng].size = r.n, size
		r.ng++
		if i >= len(b) {
			r.cut = true
			return
		}
		if size >= cardMin {
			return
		}
		k, cut := glueAt(b, i)
		if cut || k > 0 && i+k >= len(b) {
			r.cut, r.closed = true, true
			return
		}
		if k == 0 || r.sep != 0 && b[i+k-1] != r.sep || !is(b[i+k], clDigit) {
			return
		}
		r.sep, size = b[i+k-1], 0
		i += k
	}
}

// cardGroups are the ways in which cards are printed, a digit of the constant for each group.
var cardGroups = map[int]bool{
	4444: true, 44443: true, 465: true, 464: true, 444: true, 4333: true, 445: true, 4441: true, 4442: true, 4443: true,
	44442: true, 44441: true, 456: true,
}

// findCard looks for a payment card: issuer range, length, Luhn, and groups as they are printed.
func findCard(w *window, i int) match {
	b, s := w.b, i+1
	if s < w.floor || !cardStarts(b, s) || inWord(b, s) {
		return match{}
	}
	var r digitRun
	r.read(b, s)
	show := r.end[min(r.n, cardPublic)-1]
	for show < len(b) {
		k, _ := glueAt(b, show)
		if k == 0 {
			break
		}
		show += k
	}
	if !cardViable(&r) || afterNumber(b, i, w) {
		return match{}
	}
	if r.cut && !w.final {
		return undecided(s, show, show)
	}
	for g := r.ng - 1; g >= 0; g-- {
		n := r.groups[g].n
		if n < cardMin || n > cardMax || !isCard(r.d[:n]) || !r.printed(g) {
			continue
		}
		switch numberEnds(w, r.end[n-1]) {
		case more:
			return undecided(s, show, show)
		case yes:
			m := found(s, show, r.end[n-1])
			m.number = r.sep == 0 && jsonNumber(b, i)
			return m
		}
	}
	return match{}
}

// cardStarts is the quick look at what is most often no card: too short, or of no issuer.
func cardStarts(b []byte, s int) bool {
	if s+6 > len(b) {
		return true
	}
	if !is(b[s+3], clDigit) {
		return false
	}
	if v := int(b[s])*1000 + int(b[s+1])*100 + int(b[s+2])*10 + int(b[s+3]) - 1111*'0'; v < 0 || v >= len(cardIndex) || cardIndex[v] == 0 {
		return false
	}
	if is(b[s+4], clDigit) {
		return true
	}
	return numberGlue(b[s+4]) && is(b[s+5], clDigit) || b[s+4] >= 0x80
}

// printed says whether the groups up to g are ones that cards are printed in.
func (r *digitRun) printed(g int) bool {
	if g == 0 {
		return true
	}
	key := 0
	for k := 0; k <= g; k++ {
		if r.groups[k].size > 9 { // the issuer's number and the rest
			return g == 1 && r.groups[0].size == 6 && r.sep != '.'
		}
		key = key*10 + r.groups[k].size
	}
	return cardGroups[key] || r.sep == '-' && (r.groups[0].size == 4 || r.groups[0].size == 6)
}

// cardViable says whether the digits read so far can become a card.
func cardViable(r *digitRun) bool {
	if r.n > cardMax && r.ng == 0 {
		return false
	}
	if !r.cut && r.n < cardMin {
		return false
	}
	if r.ng > 0 && (r.ng > 1 || !r.cut || r.closed) && r.groups[0].size < 4 {
		return false
	}
	return cardPrefix(r.d[:min(r.n, cardPublic)])
}

// afterNumber says whether the number that starts after b[i] is the rest of something else: decimals, or
// the last group of a UUID.
func afterNumber(b []byte, i int, w *window) bool {
	switch b[i] {
	case '.':
		return i > 0 && is(b[i-1], clDigit)
	case '-':
		if i < 5 || b[i-5] != '-' {
			return false
		}
		return span(b[:i], i-4, clHex, 4) == i
	}
	return false
}

// numberEnds says whether a number may end before b[t].
func numberEnds(w *window, t int) verdict {
	if t >= len(w.b) {
		if w.final {
			return yes
		}
		return more
	}
	if isWord(w.b[t]) {
		return no
	}
	if w.b[t] == '.' { // decimals
		if t+1 >= len(w.b) && !w.final {
			return more
		}
		if t+1 < len(w.b) && is(w.b[t+1], clDigit) {
			return no
		}
	}
	return yes
}

// jsonNumber says whether the number after b[i] is a JSON value: the only thing before it is a colon after
// a string, or the opening of an array with other numbers.
func jsonNumber(b []byte, i int) bool {
	least := max(0, i-lookback+2)
	for i > least && (is(b[i], clSpace) || is(b[i], clDigit) || b[i] == ',') {
		i--
	}
	if b[i] == '[' {
		return true
	}
	if b[i] != ':' {
		return false
	}
	for i--; i > least && b[i] == ' '; i-- {
	}
	return i >= 0 && b[i] == '"'
}

// isCard checks issuer, length and the Luhn digit (ISO/IEC 7812-1 annex B).
func isCard(d []byte) bool {
	sum, double := 0, false
	for i := len(d) - 1; i >= 0; i-- {
		v := int(d[i])
		if double {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
		double = !double
	}
	return sum%10 == 0 && cardLength(d)
}

// A brand is a range of issuer numbers and the lengths it uses, a bit for each.
type brand struct {
	digits   int // of lo and hi
	lo, hi   int
	lengths  uint32
	nickname string
}

func lengths(ns ...int) (m uint32) {
	for _, n := range ns {
		m |= 1 << n
	}
	return m
}

// brands are the public ranges of issuer identification numbers, ISO/IEC 7812.
var brands = []brand{
	{1, 4, 4, lengths(13, 16, 19), "Visa"},
	{4, 4903, 4905, lengths(18), "Switch"},
	{4, 4911, 4911, lengths(18), "Switch"},
	{4, 4936, 4936, lengths(18), "Switch"},
	{3, 633, 633, lengths(16, 18, 19), "Switch, Solo"},
	{3, 636, 636, lengths(16, 17, 18, 19), "InterPayment"},
	{2, 67, 67, lengths(16, 18, 19), "Maestro"},
	{2, 51, 55, lengths(16), "Mastercard"},
	{4, 2221, 2720, lengths(16), "Mastercard"},
	{2, 34, 34, lengths(15), "American Express"},
	{2, 37, 37, lengths(15), "American Express"},
	{4, 6011, 6011, lengths(16, 17, 18, 19), "Discover"},
	{3, 644, 649, lengths(16, 17, 18, 19), "Discover"},
	{2, 65, 65, lengths(16, 17, 18, 19), "Discover, RuPay, Verve"},
	{3, 300, 305, lengths(14, 16, 19), "Diners Club"},
	{4, 3095, 3095, lengths(14, 16, 19), "Diners Club"},
	{2, 36, 36, lengths(14, 15, 16, 17, 18, 19), "Diners Club"},
	{2, 38, 39, lengths(14, 16, 17, 18, 19), "Diners Club"},
	{4, 3528, 3589, lengths(16, 17, 18, 19), "JCB"},
	{2, 35, 35, lengths(16), "JCB"},
	{4, 2131, 2131, lengths(15), "JCB"},
	{4, 1800, 1800, lengths(15), "JCB"},
	{2, 62, 62, lengths(16, 17, 18, 19), "UnionPay"},
	{2, 81, 81, lengths(16, 17, 18, 19), "UnionPay"},
	{4, 2200, 2205, lengths(16, 17, 18, 19), "Mir, Borica"},
	{3, 637, 639, lengths(16), "Hipercard, InstaPayment"},
	{4, 5018, 5018, lengths(12, 13, 14, 15, 16, 17, 18, 19), "Maestro"},
	{4, 5020, 5020, lengths(12, 13, 14, 15, 16, 17, 18, 19), "Maestro"},
	{4, 5038, 5038, lengths(12, 13, 14, 15, 16, 17, 18, 19), "Maestro"},
	{4, 5893, 5893, lengths(12, 13, 14, 15, 16, 17, 18, 19), "Maestro"},
	{4, 6304, 6304, lengths(12, 13, 14, 15, 16, 17, 18, 19), "Maestro, Laser"},
	{4, 6390, 6390, lengths(12, 13, 14, 15, 16, 17, 18, 19), "Maestro"},
	{4, 6703, 6709, lengths(12, 13, 14, 15, 16, 17, 18, 19), "Maestro, Bancontact, Laser"},
	{4, 6759, 6759, lengths(12, 13, 14, 15, 16, 17, 18, 19), "Maestro UK"},
	{4, 6761, 6763, lengths(12, 13, 14, 15, 16, 17, 18, 19), "Maestro"},
	{4, 6771, 6771, lengths(12, 13, 14, 15, 16, 17, 18, 19), "Maestro, Laser"},
	{2, 56, 58, lengths(12, 16, 18, 19), "Maestro"},
	{2, 50, 50, lengths(16, 18, 19), "Maestro, Elo, Verve, RuPay, Dankort"},
	{2, 60, 60, lengths(16), "RuPay, Hipercard, Discover"},
	{2, 82, 82, lengths(16), "RuPay"},
	{4, 9792, 9792, lengths(16), "Troy"},
	{4, 9860, 9860, lengths(16), "UzCard"},
	{4, 8600, 8600, lengths(16), "Humo"},
}

func prefixOf(d []byte, n int) int {
	v := 0
	for _, c := range d[:n] {
		v = v*10 + int(c)
	}
	return v
}

// cardIndex holds for every first four digits the lengths in use.
var cardIndex = func() (t [10000]uint32) {
	for _, b := range brands {
		scale := 1
		for range 4 - b.digits {
			scale *= 10
		}
		for v := b.lo * scale; v < (b.hi+1)*scale; v++ {
			t[v] |= b.lengths
		}
	}
	return t
}()

func cardLength(d []byte) bool { return cardIndex[prefixOf(d, 4)]&(1<<len(d)) != 0 }

// cardPrefix says whether a card can start with d.
func cardPrefix(d []byte) bool {
	if len(d) >= 4 {
		return cardIndex[prefixOf(d, 4)] != 0
	}
	return true
}

func ssnDetector() *detector {
	return &detector{
		name: "ssn", version: 1,
		anchors: append(afterAny(anchor{laneNumber, [4]*[256]bool{setNonWord, setDigit, setDigit, setDigit}}),
			ssnAnchor(), anchorFold(laneKeyword, "itin"), anchorFold(laneKeyword, "soci"), anchorFold(laneKeyword, "taxp")),
		find:  findSSN,
		keep:  bytesOf("- "),
		last4: true,
		norm:  digitsOf,
	}
}

func ssnAnchor() anchor {
	a := anchorFold(laneKeyword, "ssn")
	a.at[3] = afterKey
	return a
}

// afterAny is a, and a after the letter of an escaped newline or tab.
func afterAny(a anchor) []anchor {
	escaped := a
	escaped.at[0] = bytesOf("nrt")
	return []anchor{a, escaped}
}

// findSSN looks for a US social security number or individual taxpayer number, ddd-dd-dddd or with blanks, in the
// ranges that are issued; after a label also bare.
func findSSN(w *window, i int) match {
	const shape = "ddd-dd-dddd"
	b, s := w.b, i+1
	if is(b[i], clAlpha) && !is(b[s], clDigit) {
		return findLabelledSSN(w, i)
	}
	if s < w.floor || b[i] == '-' || b[i] == '.' || inWord(b, s) {
		return match{}
	}
	sep := byte('-')
	if s+3 < len(b) && b[s+3] == ' ' {
		sep = ' '
		if b[i] == ' ' && i > 0 && is(b[i-1], clDigit) { // a column of many
			return match{}
		}
	}
	for k := range len(shape) {
		if s+k >= len(b) {
			if w.final {
				return match{}
			}
			return undecided(s, s, s+4)
		}
		if is(b[s+k], clDigit) != (shape[k] == 'd') || shape[k] == '-' && b[s+k] != sep {
			return match{}
		}
	}
	if !issuedSSN(b[s : s+len(shape)]) {
		return match{}
	}
	switch t := s + len(shape); {
	case t >= len(b) && !w.final, t+1 >= len(b) && !w.final && b[t] == sep:
		return undecided(s, s, s+4)
	case t < len(b) && isWord(b[t]), t+1 < len(b) && (b[t] == '-' || b[t] == sep) && is(b[t+1], clDigit):
		return match{}
	default:
		return found(s, s, t)
	}
}

// findLabelledSSN looks for nine digits after a name such as ssn or social_security_number.
func findLabelledSSN(w *window, i int) match {
	b := w.b
	if i > 0 && is(b[i-1], clAlpha) && !(is(b[i-1], clLower) && is(b[i], clUpper)) {
		return match{}
	}
	t := i
	for t < len(b) && t-i < 32 && (isKeyByte(b[t]) || b[t] == ' ' && t+1 < len(b) && is(b[t+1], clAlpha)) {
		t++
	}
	if t < len(b) && !ssnLabel(b[i:t]) {
		return match{}
	}
	for n := 0; t < len(b) && n < 8 && strings.IndexByte("\"'\\ \t:=#", b[t]) >= 0; n++ {
		t++
	}
	end := span(b, t, clDigit, 10)
	if end == len(b) && end-t < 10 && !w.final {
		return undecided(t, min(t, len(b)), min(t+4, len(b)))
	}
	if end-t != 9 || t < w.floor || t == i || is(b[t-1], clAlnum) || isWord(at(b, end)) {
		return match{}
	}
	if v := b[t:end]; !issuedSSN([]byte{v[0], v[1], v[2], '-', v[3], v[4], '-', v[5], v[6], v[7], v[8]}) {
		return match{}
	}
	m := found(t, t, end)
	m.number = jsonNumber(b, t-1)
	return m
}

// at is b[i], or 0 after its end.
func at(b []byte, i int) byte {
	if i >= len(b) {
		return 0
	}
	return b[i]
}

// ssnLabel says whether name is one of such a number.
func ssnLabel(name []byte) bool {
	var norm [32]byte
	n := 0
	for _, c := range name {
		if is(c, clAlnum) {
			norm[n] = lower(c)
			n++
		}
	}
	switch string(norm[:n]) {
	case "ssn", "ssnnumber", "ssnno", "itin", "socialsecurity", "socialsecuritynumber", "socialsecurityno", "socialsecuritynum", "taxpayerid", "taxpayeridentificationnumber":
		return true
	}
	return false
}

// issuedSSN says whether v, in the shape ddd-dd-dddd, is in a range that the SSA or the IRS assigns.
func issuedSSN(v []byte) bool {
	num := func(s []byte) (n int) {
		for _, c := range s {
			n = n*10 + int(c-'0')
		}
		return n
	}
	area, group, serial := num(v[:3]), num(v[4:6]), num(v[7:])
	if area == 0 || area == 666 || group == 0 || serial == 0 {
		return false
	}
	if area >= 900 { // ITIN, Pub. 4757
		return group >= 50 && group <= 65 || group >= 70 && group != 89 && group != 93
	}
	return true
}
