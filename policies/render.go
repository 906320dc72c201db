package policies

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/bidi"
	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/unicode/runenames"
)

// The brackets around what cannot be shown as itself. They are marked themselves where the text has them, so that
// nothing can pass for a mark.
const (
	markOpen  = '⟨'
	markClose = '⟩'
)

// Render shows the exact bytes of an operation to the human who decides on it. Whatever would not look like what it is
// becomes a mark, such as ⟨U+202E RIGHT-TO-LEFT OVERRIDE⟩ or ⟨byte 0xFF⟩: control, format, zero-width and unassigned
// characters, spaces other than the space, characters that stand for others (fullwidth, mathematical), combining
// characters where no letter carries them, letters of other scripts among or instead of those they resemble, and letters
// written from right to left, since they move the words around them.
//
// Nothing is cut, and two different texts never render the same. The result is one line of valid UTF-8 without control
// characters: it can be written to a terminal, and to a page as text (by whatever escapes text there). [RenderLines]
// is for texts of several lines.
func Render(text []byte) string {
	var b strings.Builder
	b.Grow(len(text) + len(text)/8)
	render(string(text), &b)
	return b.String()
}

// Marked reports, for each byte at which a character of text begins, whether [Render] shows that character as a mark, for
// those who show marks in a way of their own.
func Marked(text string) []bool {
	marked := make([]bool, len(text))
	render(text, &marker{marked: marked})
	return marked
}

// A canvas takes the characters of a text one after the other: as they are, or as marks.
type canvas interface {
	WriteString(s string) (int, error)
	WriteRune(r rune) (int, error)
	Write(p []byte) (int, error)
}

// A marker is a canvas that keeps only where the marks are.
type marker struct {
	marked []bool
	at     int
}

// WriteString takes plain text.
func (m *marker) WriteString(s string) (int, error) { m.at += len(s); return len(s), nil }

// WriteRune takes one plain character.
func (m *marker) WriteRune(r rune) (int, error) { m.at += utf8.RuneLen(r); return 0, nil }

// Write takes a mark; skip says of what length.
func (m *marker) Write(p []byte) (int, error) { m.marked[m.at] = true; return len(p), nil }

// skip moves past the n bytes that a mark stands for.
func skip(c canvas, n int) {
	if m, ok := c.(*marker); ok {
		m.at += n
	}
}

func render(s string, b canvas) {
	for len(s) > 0 {
		if n := plainASCII(s); n > 0 {
			b.WriteString(s[:n])
			s = s[n:]
			continue
		}
		if n := wordLength(s); n > 0 {
			renderWord(b, s[:n])
			s = s[n:]
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(b, "%cbyte 0x%02X%c", markOpen, s[0], markClose)
			skip(b, 1)
		case deceives(r) || unicode.Is(unicode.M, r):
			mark(b, r)
		default:
			b.WriteRune(r)
		}
		s = s[n:]
	}
}

// RenderLines renders each line by itself, the mark of the line feed at its end. Show the lines so that none can be
// taken for something else on the page: indented, or framed.
func RenderLines(text []byte) []string {
	var lines []string
	for line := range strings.Lines(string(text)) {
		lines = append(lines, Render([]byte(line)))
	}
	return lines
}

// plainASCII returns the length of the printable ASCII at the start of s, but for a last letter or digit that a
// combining character could follow.
func plainASCII(s string) int {
	n := 0
	for n < len(s) && s[n] >= ' ' && s[n] < 0x7f {
		n++
	}
	if n < len(s) { // what follows is not ASCII: the word that runs into it is looked at as a whole
		for n > 0 && isASCIIWord(s[n-1]) {
			n--
		}
	}
	return n
}

func isASCIIWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// wordLength returns the length of the letters, digits and combining characters at the start of s, 0 if it does not
// start with a letter or digit.
func wordLength(s string) int {
	for i, r := range s {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || i > 0 && unicode.Is(unicode.M, r) {
			continue
		}
		return i
	}
	return len(s)
}

// maxCombining is how many combining characters one letter carries in honest writing.
const maxCombining = 2

// renderWord writes one word, marking the letters that are there to be taken for others.
func renderWord(b canvas, word string) {
	scripts := scriptsOf(word)
	foreign := func(r rune) bool { return false }
	switch {
	case len(scripts) > 1 && scripts["Latin"]:
		foreign = func(r rune) bool { s := scriptOf(r); return s != "" && s != "Latin" }
	case len(scripts) > 1 && !eastAsian(scripts):
		foreign = func(r rune) bool { return scriptOf(r) != "" }
	case !scripts["Latin"] && allResemble(word):
		foreign = func(r rune) bool { return resemblesLatin[r] }
	}
	combining := 0
	for _, r := range word {
		if unicode.Is(unicode.M, r) {
			combining++
		} else {
			combining = 0
		}
		if deceives(r) || foreign(r) || combining > maxCombining || unicode.Is(unicode.M, r) && len(scripts) == 0 {
			mark(b, r)
		} else {
			b.WriteRune(r)
		}
	}
}

// eastAsian reports whether the scripts are those that Chinese, Japanese and Korean are written in together.
func eastAsian(scripts map[string]bool) bool {
	for s := range scripts {
		switch s {
		case "Han", "Hiragana", "Katakana", "Bopomofo", "Hangul":
		default:
			return false
		}
	}
	return true
}

func scriptsOf(word string) map[string]bool {
	scripts := map[string]bool{}
	for _, r := range word {
		if s := scriptOf(r); s != "" {
			scripts[s] = true
		}
	}
	return scripts
}

// scriptOf returns the script of a letter, "" for what belongs to all of them.
func scriptOf(r rune) string {
	if r < utf8.RuneSelf {
		if isASCIIWord(byte(r)) && !unicode.IsDigit(r) {
			return "Latin"
		}
		return ""
	}
	for _, name := range scriptNames {
		if unicode.Is(unicode.Scripts[name], r) {
			return name
		}
	}
	return ""
}

// scriptNames are all scripts of letters, the most written ones first.
var scriptNames = func() []string {
	names := []string{"Latin", "Cyrillic", "Greek", "Han", "Hiragana", "Katakana", "Hangul"}
	for _, name := range sortedKeys(unicode.Scripts) {
		if name != "Common" && name != "Inherited" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}()

// allResemble reports whether every letter of a word could be read as a Latin one: then the word can be.
func allResemble(word string) bool {
	letters := 0
	for _, r := range word {
		if unicode.IsLetter(r) {
			letters++
			if !resemblesLatin[r] {
				return false
			}
		}
	}
	return letters > 0
}

// deceives reports whether r, wherever it stands, does not look like what it is.
func deceives(r rune) bool {
	if r >= ' ' && r < 0x7f {
		return false
	}
	return !unicode.IsGraphic(r) || // control, format, private, unassigned, line and paragraph separators
		r == markOpen || r == markClose || r == utf8.RuneError ||
		unicode.Is(unicode.Zs, r) ||
		unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) || unicode.Is(unicode.Variation_Selector, r) ||
		unicode.Is(unicode.Me, r) || rightToLeft(r) ||
		r >= 0x2010 && r <= 0x205e || // general punctuation: dashes, quotes, dots, slashes
		looksEmpty[r] || resemblesASCII[r] || standsForASCII(r)
}

// rightToLeft reports whether r changes the order in which the text around it is shown.
func rightToLeft(r rune) bool {
	p, _ := bidi.LookupRune(r)
	switch p.Class() {
	case bidi.R, bidi.AL, bidi.AN:
		return true
	}
	return false
}

// standsForASCII reports whether r is a compatibility form of ASCII text: fullwidth, mathematical, circled, a ligature.
func standsForASCII(r rune) bool {
	if r < 0xa0 {
		return false
	}
	s := norm.NFKC.String(string(r))
	if s == string(r) {
		return false
	}
	return strings.ContainsFunc(s, func(r rune) bool { return r < utf8.RuneSelf })
}

func mark(b canvas, r rune) {
	fmt.Fprintf(b, "%cU+%04X %s%c", markOpen, r, nameOf(r), markClose)
	skip(b, utf8.RuneLen(r))
}

// nameOf returns what Unicode calls r, with the usual names for controls.
func nameOf(r rune) string {
	switch {
	case r < ' ':
		return controlNames[r]
	case r == 0x7f:
		return "DELETE"
	case r == 0x85:
		return "NEXT LINE"
	case r == 0x9b:
		return "CONTROL SEQUENCE INTRODUCER"
	case r == 0x9d:
		return "OPERATING SYSTEM COMMAND"
	case r > 0x7f && r < 0xa0:
		return "C1 CONTROL"
	}
	if name := strings.Trim(runenames.Name(r), "<>"); name != "" {
		return strings.ToUpper(name)
	}
	return "UNASSIGNED"
}

var controlNames = [...]string{
	"NULL", "START OF HEADING", "START OF TEXT", "END OF TEXT", "END OF TRANSMISSION", "ENQUIRY", "ACKNOWLEDGE", "BELL",
	"BACKSPACE", "TAB", "LINE FEED", "LINE TABULATION", "FORM FEED", "CARRIAGE RETURN", "SHIFT OUT", "SHIFT IN",
	"DATA LINK ESCAPE", "DEVICE CONTROL ONE", "DEVICE CONTROL TWO", "DEVICE CONTROL THREE", "DEVICE CONTROL FOUR",
	"NEGATIVE ACKNOWLEDGE", "SYNCHRONOUS IDLE", "END OF TRANSMISSION BLOCK", "CANCEL", "END OF MEDIUM", "SUBSTITUTE",
	"ESCAPE", "INFORMATION SEPARATOR FOUR", "INFORMATION SEPARATOR THREE", "INFORMATION SEPARATOR TWO",
	"INFORMATION SEPARATOR ONE",
}

func runeSet(s string) map[rune]bool {
	set := map[rune]bool{}
	for _, r := range s {
		set[r] = true
	}
	return set
}

// looksEmpty are characters that Unicode calls graphic and that show nothing.
var looksEmpty = runeSet("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\u034f\U0001d159\u180e")

// resemblesASCII are punctuation and letters, of no script or of Latin itself, that look like ASCII: a shell reads them
// as something else.
var resemblesASCII = runeSet("¦´¨¯¸·ˈˊˋˌ˂˃˄˅˙˜ʹʺʻʼʽʾʿˆ˗ꞌǀǁǃ" +
	"ɑɡɩıʟɪȷꞵƽƨꙅƅⱼʀʏᴄᴏᴠᴡᴢᴇꜱ" +
	"−∕∖∗∣∥∶∼≁⁄⁎⁏⁓⁒⧵⧸⧹⟋⟍╱╲│┃❘❙❚⎸⎹‖" +
	"➖﹣＿⸻⸺﹘〜〰〃〔〕〈〉‹›" +
	"✱✲✳✶❋＊٭܁܂۔⁚։׃᛫⋅∙•◦⸱᛬" +
	"❛❜❝❞〝〞〟՚՛՜՝՞՟׳״ߴߵ᾽᾿῾῀΄΅" +
	"𐩐𐌠𐌢ꓸꓹꓺꓻꓽ꘎܀፡᠃᠄᠆﹍﹎﹏")

// resemblesLatin are letters and digits of other scripts that can be read as Latin letters or ASCII digits.
var resemblesLatin = runeSet(
	// Cyrillic
	"АВЕЅІЈКМНОРСТУХЗҮҺԌԍԁԛԜԝаеорсухіјѕһӏӀьвгкмнптпшԏѵѴҽҿӕӔәӡϳ" +
		// Greek and Coptic
		"ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαγεικνοπρστυχωβηϲϹϳͿϜϱϒⲀⲂⲈⲌⲎⲒⲔⲘⲚⲞⲢⲤⲦⲨⲬⲟⲥ" +
		// Armenian, Georgian
		"ՍՏՕԼԶԱոսօզցհաքլցՈփწძყ" +
		// Hebrew, Arabic, Syriac, N'Ko
		"וןסטחהםا٠١٥ەہھںߊ߀" +
		// Cherokee
		"ᎠᎡᎢᎥᎩᎪᎫᎬᎳᎷᎻᎽᏀᏂᏃᏎᏏᏒᏔᏕᏙᏚᏞᏟᏢᏦᏧᏩᏪᏭᏮᏯᏴᏳ" +
		// Lisu
		"ꓐꓑꓒꓓꓔꓖꓗꓙꓚꓝꓞꓟꓠꓡꓢꓣꓥꓦꓧꓨꓩꓪꓫꓬꓮꓯꓰꓲꓳꓴ" +
		// Canadian syllabics, Runic, Ogham
		"ᑌᑎᑭᑯᑲᑕᐯᐱᗅᗞᗪᗰᗷᒍᒪᕁᕼᖇᖴᗡᚷᚱᛕᛖᛗᛘᚠᛁᛐ" +
		// Indic and South-East Asian zeros and letters
		"०০੦૦୦௦౦೦൦๐໐၀០ംഠഽංටഃഠഗറധဝရചവയ" +
		// old scripts
		"𐊂𐊆𐊇𐊊𐊐𐊕𐊖𐊗𐊠𐊡𐊢𐊣𐊥𐊫𐊰𐊱𐊲𐊴𐌁𐌂𐌉𐌑𐌕𐌗𐌚𐐄𐐕𐐛𐐠𐐬𐐽𐑈𐓂𐓎𐓒𐓪𐓶" +
		"𖼈𖼊𖼖𖼨𖼵𖼺𖽀𖽃𑢠𑢢𑢣𑢤𑢦𑢩𑢬𑢮𑢯𑢲𑢵𑢸𑢻𑢼𑣀𑣁𑣂𑣃𑣄𑣆𑣈𑣊𑣌𑣐𑣒𑣓𑣕𑣖𑣗𑣘𑣚𑣜")
