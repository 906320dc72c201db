package mask

import "strings"

func phoneDetector() *detector {
	as := []anchor{
		{laneNumber, [4]*[256]bool{setNonWord, setDigit, setDigit, setDigit}},
		{laneNumber, [4]*[256]bool{bytesOf("nrt"), setDigit, setDigit, setDigit}},
		{laneKeyword, [4]*[256]bool{bytesOf("nrt"), bytesOf("+"), bytesOf("123456789"), bytesOf("0123456789 -.(")}},
		{laneKeyword, [4]*[256]bool{bytesOf("nrt"), bytesOf("("), setDigit, setDigit}},
		{laneKeyword, [4]*[256]bool{setNonWord, bytesOf("+"), bytesOf("123456789"), bytesOf("0123456789 -.(")}},
		{laneKeyword, [4]*[256]bool{setNonWord, bytesOf("("), setDigit, setDigit}},
		{laneNumber, [4]*[256]bool{setNonWord, bytesOf("0"), bytesOf("123456789"), bytesOf(" .-")}},
		{laneNumber, [4]*[256]bool{bytesOf("nrt"), bytesOf("0"), bytesOf("123456789"), bytesOf(" .-")}},
	}
	for _, k := range phoneLabels {
		a := anchorFold(laneKeyword, k)
		if len(k) < len(a.at) {
			a.at[len(k)] = afterKey
		}
		as = append(as, a)
	}
	return &detector{
		name: "phone", version: 1, anchors: as,
		find: findPhone, keep: bytesOf("+-.()/ "), last4: true, norm: digitsOf,
	}
}

var phoneLabels = strings.Fields("phon tele tel mobi cell fax what")

// phoneShapes are national ways of writing: d any digit, N 2-9, M 1-9, S one separator out of those after the
// bar, the same in the whole number; everything else stands for itself.
var phoneShapes = indexShapes(`NddSNddSdddd|-. 
(Ndd) Ndd-dddd|
(Ndd)Ndd-dddd|
(Ndd) NddSdddd|. 
(0dd) dddd dddd|
(0ddd) ddd dddd|
(0dddd) ddddd|
(0dddd) dddddd|
(0dddd) ddddddd|
(0dd) dddddd|
(0dd) ddddddd|
(0dd) dddddddd|
(0ddd) dddddd|
(0ddd) ddddddd|
(0ddd) dddddddd|
(dd) 9dddd-dddd|
(dd) Mddd-dddd|
02dSddddSdddd| -
02dSdddSdddd| 
0M0SdddSdddd| 
01ddSdddSdddd| -
01ddSdddSddddd| 
0MddSdddSdddd| 
03ddSdddSdddd| -
08ddSdddSdddd| -
01dddSdddddd| -
07dddSdddddd| -
07dddSdddSddd| -
07ddddddddd|
06dddddddd|
07dddddddd|
0MSddSddSddSdd| .-
04ddSdddSddd| 
0MSddddSdddd| -
0M0SddddSdddd|-
01ddSddddddd|-/ 
01ddSdddddddd|-/ 
0M0SMddddd|-/ 
0M0SMdddddd|-/ 
0M0SMddddddd|-/ 
089SMddddd|-/ 
089SMdddddd|-/ 
089SMddddddd|-/ 
069SMddddd|-/ 
069SMdddddd|-/ 
069SMddddddd|-/ 
0MddSMdddd|-/ 
0MddSMddddd|-/ 
0MddSMdddddd|-/ 
0MddSMddddddd|-/ 
0MdddSMdddd|-/ 
0MdddSMddddd|-/ 
0MdddSMdddddd|-/ 
0MddSddddddd|-/
0MdSddddddd|-/
0MdSdddddddd|-/
0MdSddddddd|/
1MdSddddSdddd|- 
0MdSdddSddSdd| -
0Md-ddd dd dd|
0MSdddSddSdd| -
0MSdddSdddd| -
0MdSdddSdddd| -
0Md-ddd dddd|
0Md dddd-dddd|
0MddSddSddSdd| -
0MddSdddSddSdd| -
0MddSdddSddd| -
0MddSddddSdddd|-
0Mdd ddddddd|
0MddddSddddd| -
06Sdddddddd| -
(0M) dddd dddd|
(0M) dddd-dddd|
(Mdd) ddd-dd-dd|
Mdd ddd-dd-dd|`)

// A phoneShape is a way of writing.
type phoneShape struct {
	text, seps string
	nanp       bool // it has the rules of the North American plan
	pairs      bool // it looks like a piece of a hexdump
	lead       int  // digits before the first separator; 0: it starts with a bracket
}

// indexShapes sorts shapes by the byte that they start with.
func indexShapes(text string) (t [256][]phoneShape) {
	for line := range strings.SplitSeq(text, "\n") {
		shape, seps, _ := strings.Cut(line, "|")
		for c := range 256 {
			var sep byte
			if shapeByte(shape[0], "", byte(c), &sep) {
				t[c] = append(t[c], phoneShape{shape, seps, strings.Contains(shape, "Ndd"), strings.HasPrefix(shape, "0MSdd"), leadOf(shape)})
			}
		}
	}
	return t
}

// leadOf is how many digits shape has before its first separator.
func leadOf(shape string) int {
	if shape[0] == '(' {
		return 0
	}
	if k := strings.IndexAny(shape, "S- "); k >= 0 {
		return k
	}
	return len(shape)
}

// findPhone looks for a phone number: international from its plus sign on, national as it is printed, and
// after a label however it is written.
func findPhone(w *window, i int) match {
	b := w.b
	s := i + 1
	if is(b[i], clAlpha) && (is(b[s], clAlpha) || !escapedBefore(b, s)) {
		return findLabelledPhone(w, i)
	}
	if s < w.floor {
		return match{}
	}
	if b[s] == '+' {
		return internationalPhone(w, s)
	}
	if b[i] == '+' || afterPhoneDigit(b, i) {
		return match{}
	}
	if b[s] == '0' && at(b, s+1) == '0' {
		return dialledPhone(w, s)
	}
	var waits match
	end := span(b, s, clDigit, 12)
	for k := range phoneShapes[b[s]] {
		if lead := phoneShapes[b[s]][k].lead; lead != end-s && (end < len(b) || lead < end-s) {
			continue
		}
		m := phoneShapes[b[s]][k].match(w, s)
		if m.verdict == yes {
			return m
		}
		if m.verdict == more {
			waits = m
		}
	}
	return waits
}

// afterPhoneDigit says whether what comes after b[i] is the rest of a longer number, date, time or address. It is none
// after the long-distance prefix, 1 or Russia's 8, and after the name of a file and the number of a line.
func afterPhoneDigit(b []byte, i int) bool {
	if i < 2 || !is(b[i-1], clDigit) {
		return false
	}
	switch b[i] {
	case '.', '/':
		return true
	case '-', ' ':
		return b[i-1] != '1' && b[i-1] != '8' || inWord(b, i-1)
	case ':':
		k := i - 1
		for k > 0 && i-k < 8 && is(b[k-1], clDigit) {
			k--
		}
		return k < 2 || b[k-1] != ':' || is(b[k-2], clDigit)
	}
	return false
}

// match looks for p at s.
func (p *phoneShape) match(w *window, s int) match {
	b, sep := w.b, byte(0)
	for k := range len(p.text) {
		if s+k >= len(b) {
			if w.final {
				return match{}
			}
			return undecided(s, s, min(s+3, len(b)))
		}
		if !shapeByte(p.text[k], p.seps, b[s+k], &sep) {
			return match{}
		}
	}
	t := s + len(p.text)
	var d [16]byte
	if p.nanp && !isNANP(digitsOf(d[:0], b[s:t])) {
		return match{}
	}
	if sep == ' ' && b[s] == '0' && fileModes[string(b[s:s+4])] && b[s+4] == ' ' {
		return match{}
	}
	if p.pairs && sep == ' ' {
		switch amongPairs(w, s, t) {
		case yes:
			return match{}
		case more:
			return undecided(s, s, s+3)
		}
	}
	return endPhone(w, s, s, t, sep)
}

// amongPairs says whether more pairs of hexadecimal digits stand before b[s] or after b[t].
func amongPairs(w *window, s, t int) verdict {
	b := w.b
	k := s
	for k > 0 && s-k < 3 && b[k-1] == ' ' {
		k--
	}
	if k < s && k > 1 && is(b[k-1], clHex) && is(b[k-2], clHex) && (k < 3 || !isWord(b[k-3])) {
		return yes
	}
	for k = t; k < len(b) && k-t < 3 && b[k] == ' '; k++ {
	}
	if k+2 >= len(b) && !w.final {
		return more
	}
	if k > t && k+1 < len(b) && is(b[k], clHex) && is(b[k+1], clHex) && (k+2 >= len(b) || !isWord(b[k+2])) {
		return yes
	}
	return no
}

func shapeByte(want byte, seps string, c byte, sep *byte) bool {
	switch want {
	case 'd':
		return is(c, clDigit)
	case 'N':
		return c >= '2' && c <= '9'
	case 'M':
		return c >= '1' && c <= '9'
	case 'S':
		if *sep == 0 && strings.IndexByte(seps, c) >= 0 {
			*sep = c
		}
		return c == *sep
	}
	return c == want
}

// endPhone decides by what follows the number that ends before b[t].
func endPhone(w *window, s, show, t int, sep byte) match {
	b := w.b
	if t+1 >= len(b) && !w.final && (t == len(b) || !isWord(b[t]) || b[t] == 'x') {
		return undecided(s, show, min(s+3, len(b)))
	}
	if t < len(b) && isWord(b[t]) && !(b[t] == 'x' && t+1 < len(b) && is(b[t+1], clDigit)) { // but for an extension
		return match{}
	}
	if t+1 < len(b) && (sep != 0 && b[t] == sep || b[t] == '-' || b[t] == '.' || b[t] == '/' || b[t] == ':') && is(b[t+1], clDigit) {
		return match{}
	}
	return found(s, show, t)
}

// isNANP checks the digits of a North American number: no area N9X, no N11.
func isNANP(d []byte) bool {
	if len(d) == 11 {
		d = d[1:]
	}
	return len(d) == 10 && d[0] >= '2' && d[1] != '9' && d[3] >= '2' && !(d[1] == '1' && d[2] == '1') && !(d[4] == '1' && d[5] == '1')
}

// internationalPhone reads +, a country code that exists, and 8 to 15 digits in all (E.164) with single
// separators, or a bracket, between them. The plus sign is public.
func internationalPhone(w *window, s int) match {
	b := w.b
	var d [16]byte
	n, t, last := 0, s+1, s+1
	for t < len(b) && n < len(d) {
		c := b[t]
		if is(c, clDigit) {
			d[n] = c
			n++
			t++
			last = t
			continue
		}
		if c != ' ' && c != '-' && c != '.' && c != '(' && c != ')' && c != '/' || !phoneSep(b[t-1], c) {
			break
		}
		t++
	}
	if n == len(d) || n >= 3 && !countryCode(d[:n]) {
		return match{}
	}
	if t == len(b) && !w.final {
		return undecided(s, s+1, min(s+3, len(b)))
	}
	if !isE164(d[:n]) {
		return match{}
	}
	return endPhone(w, s, s+1, last, 0)
}

// dialledPhone reads 00, a country code and a number with separators: without any it is most likely a number that was
// filled up with zeros.
func dialledPhone(w *window, s int) match {
	b := w.b
	m := internationalPhone(w, s+1) // as if the second zero were a plus sign
	switch m.verdict {
	case yes:
		for k, c := range b[s+2 : m.to] {
			if !is(c, clDigit) {
				if next := b[s+3+k]; next == '0' && string(b[s+2:s+4]) != "39" { // none but Italy's numbers start so
					return match{}
				}
				return found(s, s, m.to)
			}
		}
		return match{}
	case more:
		return undecided(s, s, min(s+4, len(b)))
	}
	return match{}
}

// fileModes are numbers before others in listings.
var fileModes = func() map[string]bool {
	m := map[string]bool{}
	for _, n := range strings.Fields("0400 0440 0444 0500 0544 0550 0555 0600 0640 0644 0660 0664 0666 0700 0710 0711 0744 0750 0751 0755 0764 0770 0774 0775 0777") {
		m[n] = true
	}
	return m
}()

// phoneSep says whether separator c may stand after p.
func phoneSep(p, c byte) bool {
	switch {
	case is(p, clDigit):
		return true
	case c == '(':
		return p == ' ' || p == '+'
	case c == ' ' || c == '-':
		return p == ')'
	}
	return false
}

// twoDigitCodes are the country codes of two digits; 1 and 7 have one, all others three (ITU-T E.164D).
var twoDigitCodes = func() (t [100]bool) {
	for _, c := range []int{20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56,
		57, 58, 60, 61, 62, 63, 64, 65, 66, 81, 82, 84, 86, 90, 91, 92, 93, 94, 95, 98} {
		t[c] = true
	}
	return t
}()

func countryCode(d []byte) bool {
	if d[0] == '1' || d[0] == '7' || twoDigitCodes[(d[0]-'0')*10+d[1]-'0'] {
		return true
	}
	switch string(d[:2]) {
	case "21", "22", "23", "24", "25", "26", "29", "35", "37", "38", "42", "50", "59", "67", "68", "69", "85", "88", "96", "97", "99":
		return true
	}
	return false
}

func isE164(d []byte) bool {
	switch {
	case len(d) < 8 || !countryCode(d):
		return false
	case d[0] == '1':
		return len(d) == 11 && isNANP(d)
	case d[0] == '7':
		return len(d) == 11
	}
	return len(d) <= 15
}

// findLabelledPhone looks for 7 to 15 digits after a name such as phone_number or tel.
func findLabelledPhone(w *window, i int) match {
	b := w.b
	if i > 0 && is(b[i-1], clLower) && is(b[i], clLower) && b[i] != 'p' {
		return match{}
	}
	t := i
	for t < len(b) && t-i < 24 && isKeyByte(b[t]) {
		t++
	}
	if t < len(b) && !phoneLabel(b[i:t]) {
		return match{}
	}
	glue, sign := 0, false
	for t < len(b) && glue < 8 && strings.IndexByte("\"' \t:=#.", b[t]) >= 0 {
		sign = sign || b[t] == ':' || b[t] == '='
		t++
		glue++
	}
	from := t
	n, last := 0, t
	for t < len(b) && n <= 15 && (is(b[t], clDigit) || t > from && n > 0 && strings.IndexByte(" -./()", b[t]) >= 0 && t-last < 2 || t == from && (b[t] == '(' || b[t] == '+')) {
		if is(b[t], clDigit) {
			n++
			last = t + 1
		}
		t++
	}
	if t == len(b) && !w.final {
		return undecided(from, min(from, len(b)), min(from+3, len(b)))
	}
	if !sign || n < 7 || n > 15 || from < w.floor || last < len(b) && isWord(b[last]) || b[from] == '+' {
		return match{}
	}
	m := found(from, from, last)
	m.number = last-from == n && jsonNumber(b, from-1)
	return m
}

// phoneLabel says whether name, which starts with one of phoneLabels, is one of a phone number.
func phoneLabel(name []byte) bool {
	var norm [24]byte
	n := 0
	for _, c := range name {
		if is(c, clAlnum) {
			norm[n] = lower(c)
			n++
		}
	}
	switch string(norm[:n]) {
	case "phone", "phonenumber", "phoneno", "phonenum", "telephone", "telephonenumber", "tel", "mobile", "mobilenumber", "mobilephone",
		"mobileno", "cell", "cellphone", "cellnumber", "fax", "faxnumber", "whatsapp", "phonehome", "phonework", "phonemobile":
		return true
	}
	return false
}
