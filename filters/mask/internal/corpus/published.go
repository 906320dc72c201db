package corpus

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// A Form is a value as its issuer, its scheme or a standard writes it. Bytes From to To of Text are the value, of which
// the first Show may be seen.
type Form struct {
	Kind           string
	Text           string
	From, To, Show int
	avoid          []string // frames in which it would be something else
}

// Avoids says whether the value would be something else in the frame called name.
func (f Form) Avoids(name string) bool { return slices.Contains(f.avoid, name) }

func form(kind, text string, show int, avoid ...string) Form {
	return Form{Kind: kind, Text: text, To: len(text), Show: show, avoid: avoid}
}

// Published makes values of every kind in every form that the documentation claims.
func Published(r *rand.Rand) []Form {
	var all []Form
	for _, make := range []func(*rand.Rand) []Form{cardForms, ibanForms, ssnForms, phoneForms, emailForms, tokenForms, jwtForms, urlForms} {
		all = append(all, make(r)...)
	}
	return all
}

// brandsOf are prefixes and lengths of issuers, and the groups that they print.
var brandsOf = []struct {
	prefixes string
	lengths  []int
}{
	{"4 40 4026 417500 4508 4844 4913 4917", []int{16}}, {"4", []int{13, 19}}, {"51 52 53 54 55 2221 2300 2500 2720", []int{16}}, {"34 37", []int{15}},
	{"6011 644 645 649 65", []int{16, 19}}, {"300 305 3095", []int{14, 16}}, {"36", []int{14, 16, 19}}, {"38 39", []int{14, 16}}, {"3528 3589 3530", []int{16, 19}}, {"2131 1800", []int{15}},
	{"62 81", []int{16, 17, 18, 19}}, {"2200 2204", []int{16, 19}}, {"5018 5020 5038 5893 6304 6759 6761 6762 6763", []int{12, 13, 14, 15, 16, 17, 18, 19}},
	{"6703", []int{16}}, {"6331 6334 6767 6799", []int{16, 18, 19}}, {"636", []int{16}}, {"50 56 57 58", []int{16, 19}}, {"60 508500 353 356 82", []int{16}}, {"9792", []int{16}}, {"506099 650002", []int{16, 19}}, {"637095 6062", []int{16}},
	{"4903 4905 4911 4936 6333", []int{16, 18, 19}}, {"560221 639000 670300", []int{12, 16}},
}

func cardForms(r *rand.Rand) []Form {
	var out []Form
	for _, b := range brandsOf {
		for prefix := range strings.FieldsSeq(b.prefixes) {
			for _, n := range b.lengths {
				d := prefix + pick(r, numerals, n-1-len(prefix))
				d += string(LuhnDigit([]byte(d)))
				out = append(out, form("card", d, 6))
				for _, sep := range []string{" ", "-", ".", "\u00a0", "\u2011"} {
					for _, g := range groupsOf(n) {
						text, show := grouped(d, g, sep)
						avoid := []string{"box tight"}
						if sep != "-" { // digits before and after a blank or a dot may be of the same number
							avoid = append(avoid, "grep")
						}
						out = append(out, form("card", text, show, avoid...))
					}
				}
			}
		}
	}
	return out
}

// groupsOf are the ways in which cards of n digits are printed.
func groupsOf(n int) [][]int {
	switch n {
	case 14:
		return [][]int{{4, 6, 4}, {4, 4, 4, 2}}
	case 15:
		return [][]int{{4, 6, 5}, {4, 4, 4, 3}}
	case 13:
		return [][]int{{4, 3, 3, 3}, {4, 4, 5}, {4, 4, 4, 1}}
	case 19:
		return [][]int{{4, 4, 4, 4, 3}}
	}
	var g []int
	for ; n > 4; n -= 4 {
		g = append(g, 4)
	}
	return [][]int{append(g, n)}
}

func grouped(d string, groups []int, sep string) (text string, show int) {
	var parts []string
	for _, g := range groups {
		parts = append(parts, d[:g])
		d = d[g:]
	}
	text = strings.Join(parts, sep)
	return text, indexDigit(text, 6)
}

// ibanExamples are the examples of the IBAN registry, one for each country.
var ibanExamples = strings.Fields(`AD1200012030200359100100 AE070331234567890123456 AL47212110090000000235698741 AT611904300234573201 AZ21NABZ00000000137010001944
	BA391290079401028494 BE68539007547034 BG80BNBG96611020345678 BH67BMAG00001299123456 BR1800360305000010009795493C1 BY13NBRB3600900000002Z00AB00 CH9300762011623852957
	CR05015202001026284066 CY17002001280000001200527600 CZ6508000000192000145399 DE89370400440532013000 DK5000400440116243 DO28BAGR00000001212453611324 EE382200221020145685
	EG380019000500000000263180002 ES9121000418450200051332 FI2112345600000785 FO6264600001631634 FR1420041010050500013M02606 GB29NWBK60161331926819 GE29NB0000000101904917
	GI75NWBK000000007099453 GL8964710001000206 GR1601101250000000012300695 GT82TRAJ01020000001210029690 HR1210010051863000160 HU42117730161111101800000000
	IE29AIBK93115212345678 IL620108000000099999999 IQ98NBIQ850123456789012 IS140159260076545510730339 IT60X0542811101000000123456 JO94CBJO0010000000000131000302
	KW81CBKU0000000000001234560101 KZ86125KZT5004100100 LB62099900000001001901229114 LC55HEMM000100010012001200023015 LI21088100002324013AA LT121000011101001000 LU280019400644750000
	LV80BANK0000435195001 LY83002048000020100120361 MC5811222000010123456789030 MD24AG000225100013104168 ME25505000012345678951 MK07250120000058984 MR1300020001010000123456753
	MT84MALT011000012345MTLCAST001S MU17BOMM0101101030300200000MUR NL91ABNA0417164300 NO9386011117947 PK36SCBL0000001123456702 PL61109010140000071219812874
	PS92PALS000000000400123456702 PT50000201231234567890154 QA58DOHB00001234567890ABCDEFG RO49AAAA1B31007593840000 RS35260005601001611379 SA0380000000608010167519
	SC18SSCB11010000000000001497USD SE4550000000058398257466 SI56263300012039086 SK3112000000198742637541 SM86U0322509800000000270100 ST23000100010051845310146
	SV62CENR00000000000000700025 TL380080012345678910157 TN5910006035183598478831 TR330006100519786457841326 UA213223130000026007233566001 VA59001123000012345678 VG96VPVG0000012345678901
	XK051212012345678906`)

func ibanForms(r *rand.Rand) []Form {
	var out []Form
	for _, s := range ibanExamples {
		out = append(out, form("iban", s, 4), form("iban", strings.ToLower(s), 4))
		for _, sep := range []string{" ", "-"} {
			var g []string
			for k := 0; k < len(s); k += 4 {
				g = append(g, s[k:min(k+4, len(s))])
			}
			out = append(out, form("iban", strings.Join(g, sep), 4))
		}
	}
	for range 100 {
		v := iban(r)
		out = append(out, form("iban", v.Value, 4))
	}
	return out
}

func ssnForms(r *rand.Rand) []Form {
	var out []Form
	for range 150 {
		area := 1 + r.IntN(665)
		group, serial := 1+r.IntN(99), 1+r.IntN(9999)
		if r.IntN(4) == 0 { // ITIN
			area, group = 900+r.IntN(100), []int{50, 65, 70, 88, 90, 92, 94, 99}[r.IntN(8)]
		}
		out = append(out, form("ssn", fmt.Sprintf("%03d-%02d-%04d", area, group, serial), 0))
		out = append(out, form("ssn", fmt.Sprintf("%03d %02d %04d", area, group, serial), 0, "CSV last"))
	}
	return out
}

func phoneForms(r *rand.Rand) []Form {
	d := func(n int) string { return pick(r, numerals, n) }
	a := func() string { return pick(r, "23456789", 1) + pick(r, "02345678", 1) + d(1) }
	var out []Form
	for range 20 {
		x, y, z := a(), a(), d(4)
		for _, s := range []string{
			"+1" + x + y + z, "+1 " + x + " " + y + " " + z, "+1-" + x + "-" + y + "-" + z, "+1 (" + x + ") " + y + "-" + z, "+1." + x + "." + y + "." + z, "(" + x + ") " + y + "-" + z, "(" + x + ")" + y + "-" + z,
			x + "-" + y + "-" + z, x + "." + y + "." + z, x + " " + y + " " + z, "1-" + x + "-" + y + "-" + z, "1 (" + x + ") " + y + "-" + z, "001-" + x + "-" + y + "-" + z,
			x + "-" + y + "-" + z + "x" + d(4), "(" + x + ") " + y + "-" + z + " x" + d(3), "+1-" + x + "-" + y + "-" + z + "x" + d(4), x + "-" + y + "-" + z + " ext. " + d(3),
			"+44 20 " + d(4) + " " + d(4), "+44 (0)20 " + d(4) + " " + d(4), "+4420" + d(8), "+44 7700 " + d(6), "+447" + d(9), "+44 7" + d(3) + " " + d(3) + " " + d(3), "020 7" + d(3) + " " + d(4), "(020) 7" + d(3) + " " + d(4),
			"0117 496 " + d(4), "(0117) 496 " + d(4), "0121 496 " + d(4), "07700 " + d(6), "07700 " + d(3) + " " + d(3), "07700" + d(6), "01632 " + d(6), "(01632) " + d(6), "0044 20 " + d(4) + " " + d(4), "0808 157 " + d(4),
			"+49 30 " + d(7), "+49 (0)30 " + d(7), "+49 (0) 30 " + d(7), "+4930" + d(7), "+49 151 2" + d(7), "+49 151/2" + d(7), "+49-30-" + d(7), "030 9" + d(6), "030/9" + d(6), "030-9" + d(6), "(030) 9" + d(6), "089 7" + d(5), "0221 9" + d(6), "0151 2" + d(7), "0171/2" + d(6),
			"0171-2" + d(6), "(0171) 2" + d(6), "06221 5" + d(5), "(06221) 5" + d(5), "0049 30 9" + d(6), "030 " + d(3) + " " + d(4), "0151 " + d(3) + " " + d(5),
			"+33 1 " + d(2) + " " + d(2) + " " + d(2) + " " + d(2), "+33 (0)1 " + d(2) + " " + d(2) + " " + d(2) + " " + d(2), "+336" + d(8), "+33.6." + d(2) + "." + d(2) + "." + d(2) + "." + d(2), "01 42 " + d(2) + " " + d(2) + " " + d(2),
			"06 12 " + d(2) + " " + d(2) + " " + d(2), "06.12." + d(2) + "." + d(2) + "." + d(2), "06-12-" + d(2) + "-" + d(2) + "-" + d(2), "0033 6 12 " + d(2) + " " + d(2) + " " + d(2), "0612" + d(6),
			"+81 90-" + d(4) + "-" + d(4), "+86 138 " + d(4) + " " + d(4), "+55 11 9" + d(4) + "-" + d(4), "+61 4" + d(2) + " " + d(3) + " " + d(3), "+91 98" + d(3) + " " + d(5), "+7 916 " + d(3) + "-" + d(2) + "-" + d(2), "+39 06 " + d(4) + " " + d(4), "+34 6" + d(2) + " " + d(3) + " " + d(3), "+353 1 " + d(3) + " " + d(4), "+972 3 " + d(3) + " " + d(4),
		} {
			show := 0
			if s[0] == '+' {
				show = 1
			}
			f := form("phone", s, show)
			if strings.HasPrefix(s, "1-") || strings.HasPrefix(s, "1 (") {
				f.From = 2
			}
			if k := strings.IndexByte(s, 'x'); k > 0 { // an extension stays
				f.To = len(strings.TrimRight(s[:k], " e"))
			}
			out = append(out, f)
		}
	}
	for line := range strings.SplitSeq(countryPhones, "\n") {
		for range 3 {
			s := strings.Map(func(c rune) rune {
				if c == 'd' {
					return rune(d(1)[0])
				}
				return c
			}, line)
			f := form("phone", s, strings.Count(s[:1], "+"))
			if strings.HasPrefix(s, "8 ") { // what is dialled before it
				f.From = 2
			}
			out = append(out, f)
		}
	}
	return out
}

// countryPhones are printed numbers of many countries; a d is any digit.
const countryPhones = `+31 20 4dd dddd
+31 6 1ddddddd
06-1ddddddd
+32 2 5dd dd dd
02 5dd dd dd
0470 dd dd dd
+41 44 6dd dd dd
044 6dd dd dd
079 6dd dd dd
+43 1 2dddddddd
0664 2dddddd
+46 8 123 4dd dd
070-123 dd dd
+47 22 1d dd dd
+45 32 1d dd dd
+358 9 1dd dddd
040 1dd dddd
+48 22 1dd dd dd
+420 601 ddd ddd
+421 2 1dd ddd dd
+36 1 2dd dddd
+40 21 1dd dddd
0721 ddd ddd
+359 2 1dd dddd
+30 21 0dd dddd
+351 21 1dd dddd
01 2dd dddd
085 1dd dddd
+90 212 1dd dd dd
0212 1dd dd dd
0532 1dd dd dd
8 (495) 1dd-dd-dd
8 495 1dd-dd-dd
+380 44 1dd dddd
044 1dd dd dd
+972 2-1dd-dddd
02-1dd-dddd
050-1dd-dddd
+91 98ddd ddddd
098ddd ddddd
+86 10 1ddd dddd
138-00dd-dddd
+82 10-1ddd-dddd
010-1ddd-dddd
(02) 1ddd dddd
0412 3dd ddd
+64 9 1dd dddd
09 1dd dddd
021 1dd dddd
+52 55 1ddd dddd
+54 11 1ddd-dddd
011 4ddd-dddd
+56 2 2ddd dddd
+27 11 1dd dddd
082 1dd dddd
+234 803 1dd dddd
+254 712 1ddddd
+20 2 1ddddddd
+65 61dd dddd
+852 21dd dddd
+886 2 1ddd dddd
0912-3dd-ddd
+66 2 1dd dddd
081 2dd dddd
+84 24 1ddd dddd
+62 21 1dddddd
0812-3ddd-dddd
+60 3-1ddd dddd
012-3dd dddd
0917 1dd dddd
+971 4 1dd dddd
050 1dd dddd
+966 11 1dd dddd`

func emailForms(r *rand.Rand) []Form {
	var out []Form
	for _, local := range strings.Fields(`jane jane.doe jane+tag jane_doe jane-doe j a1 JANE.DOE info x.y.z 12345 jane.doe+news+x o_brien very.long.name.of.a.person`) {
		for _, host := range strings.Fields(`example.com mail.example.com a.b.c.example.org example.co.uk example.de EXAMPLE.COM my-host.example.io xn--bcher-kva.example.com example.museum bücher.de münchen.example.com example.xn--p1ai`) {
			out = append(out, form("email", local+"@"+host, 1, "escaped newline", "colon tight"))
		}
	}
	for _, s := range []string{`"john.doe"@example.com`, `"jane"@mail.example.org`} {
		f := form("email", s, 2, "quotes", "escaped newline", "JSON in JSON", "JSON", "JSON tight", "JSON lines", "JSON list", "YAML quoted", "CSV quoted", "Go string", "TOML", "export", "attribute", "colon tight")
		out = append(out, f)
	}
	for _, s := range []string{"jürgen.groß@example.com", "rené@example.fr", "иван@example.com"} {
		out = append(out, form("email", s, 2, "escaped newline", "accents", "colon tight"))
	}
	return out
}

func urlForms(r *rand.Rand) []Form {
	var out []Form
	for _, scheme := range strings.Fields("postgres postgresql mysql mongodb mongodb+srv redis rediss amqp amqps https http ftp sftp ldap smtp jdbc:mysql nats mqtt git+https clickhouse") {
		for _, pw := range []string{"hunter2", "s3cr3t!", "p%40ss%3Aw0rd", "correct-horse", "a.b.c.d1", "P@ssw0rd", "x" + pick(r, alnum, 20), "sw0rd$1", "1234567", "pa:ss:wd1"} {
			before := scheme + "://app:"
			f := form("url-password", before+pw+"@db.internal:5432/x", 0)
			f.From, f.To = len(before), len(before)+len(pw)
			out = append(out, f)
		}
	}
	return out
}

func jwtForms(r *rand.Rand) []Form {
	var out []Form
	for _, header := range []string{`{"alg":"HS256","typ":"JWT"}`, `{"typ":"JWT","alg":"RS256"}`, `{"alg":"none"}`, `{"alg":"ES256","kid":"a1"}`, `{"kid":"` + pick(r, alnum, 30) + `","alg":"EdDSA"}`, `{ "alg": "HS256" }`, "{\n  \"alg\": \"RS256\"\n}", "{\r\n \"alg\":\"RS256\"}"} {
		for _, enc := range []*base64.Encoding{base64.RawURLEncoding, base64.URLEncoding} {
			body := enc.EncodeToString([]byte(`{"sub":"` + pick(r, numerals, 9+r.IntN(4)) + `","admin":true}`))
			h := enc.EncodeToString([]byte(header))
			sig := enc.EncodeToString([]byte(pick(r, alnum, 32)))
			out = append(out, form("jwt", h+"."+body+"."+sig, 3), form("jwt", h+"."+pick(r, alnum, 43)+"."+pick(r, alnum, 16)+"."+pick(r, alnum, 60)+"."+pick(r, alnum, 22), 3))
		}
	}
	return out
}
