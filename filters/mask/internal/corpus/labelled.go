package corpus

import (
	"encoding/base64"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
)

// A Value is a made-up secret.
type Value struct {
	Kind   string
	Value  string // as it stands in the text, with what makes it recognizable
	Secret string // the part of it that must not be shown
	At     int    // offset in its text
}

// Shown returns what out shows of v that it must not, or "": six characters in a row of the secret; of a
// card a digit beyond the first six and the last four. With last4 the end may be shown.
func (v Value) Shown(out string, last4 bool) string {
	const most = 6
	secret := v.Secret
	if v.Kind == "card" {
		d := digits(secret)
		first, mid, last, all := d[:6], d[6:len(d)-4], d[len(d)-4:], digits(out)
		if strings.Contains(all, first+mid[:1]) && !strings.Contains(all, first+last) {
			return mid
		}
		secret = secret[indexDigit(secret, 6):]
	}
	for i := 0; i+most <= len(secret); i++ {
		if last4 && i+most > len(secret)-4 {
			break
		}
		if s := secret[i : i+most]; strings.Contains(out, s) {
			return s
		}
	}
	return ""
}

func digits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}

// indexDigit is the index after digit n of s.
func indexDigit(s string, n int) int {
	for i := range len(s) {
		if s[i] >= '0' && s[i] <= '9' {
			if n--; n == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

func pick(r *rand.Rand, of string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = of[r.IntN(len(of))]
	}
	return string(b)
}

const (
	numerals = "0123456789"
	small    = "abcdefghijklmnopqrstuvwxyz"
	capital  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	alnum    = numerals + small + capital
)

// issuers are prefixes and lengths of cards, with the groups they are printed in.
var issuers = []struct {
	prefix string
	groups []int
}{
	{"4", []int{4, 4, 4, 4}}, {"51", []int{4, 4, 4, 4}}, {"55", []int{4, 4, 4, 4}}, {"2221", []int{4, 4, 4, 4}}, {"2720", []int{4, 4, 4, 4}},
	{"34", []int{4, 6, 5}}, {"37", []int{4, 6, 5}}, {"6011", []int{4, 4, 4, 4}}, {"65", []int{4, 4, 4, 4}}, {"644", []int{4, 4, 4, 4}},
	{"300", []int{4, 6, 4}}, {"36", []int{4, 6, 4}}, {"38", []int{4, 6, 4}}, {"3528", []int{4, 4, 4, 4}}, {"3589", []int{4, 4, 4, 4}},
	{"62", []int{4, 4, 4, 4}}, {"62", []int{6, 13}}, {"2200", []int{4, 4, 4, 4}}, {"6759", []int{4, 4, 4, 4, 2}}, {"4", []int{4, 4, 4, 4, 3}},
	{"5018", []int{4, 4, 4}}, {"60", []int{4, 4, 4, 4}}, {"9792", []int{4, 4, 4, 4}},
}

func card(r *rand.Rand) Value {
	is := issuers[r.IntN(len(issuers))]
	n := 0
	for _, g := range is.groups {
		n += g
	}
	d := is.prefix + pick(r, numerals, n-1-len(is.prefix))
	d += string(LuhnDigit([]byte(d)))
	sep := []string{"", " ", "-"}[r.IntN(3)]
	var parts []string
	for _, g := range is.groups {
		parts = append(parts, d[:g])
		d = d[g:]
	}
	s := strings.Join(parts, sep)
	return Value{Kind: "card", Value: s, Secret: s}
}

// countries are IBANs without spaces, of which the digits of the account are made anew.
var countries = []string{"DE18", "AT16", "ES20", "CH17", "BE12", "PL24", "NO11", "SE20", "DK14", "FI14", "PT21", "CZ20"}

func iban(r *rand.Rand) Value {
	c := countries[r.IntN(len(countries))]
	var n int
	fmt.Sscan(c[2:], &n)
	account := pick(r, numerals, n)
	var num big.Int
	num.SetString(account+fmt.Sprintf("%d%d00", c[0]-'A'+10, c[1]-'A'+10), 10)
	check := 98 - new(big.Int).Mod(&num, big.NewInt(97)).Int64()
	s := fmt.Sprintf("%s%02d%s", c[:2], check, account)
	if r.IntN(4) == 0 {
		s = strings.ToLower(s)
	}
	secret := s[4:]
	if r.IntN(2) == 0 {
		var g []string
		for k := 0; k < len(s); k += 4 {
			g = append(g, s[k:min(k+4, len(s))])
		}
		s = strings.Join(g, " ")
		secret = s[5:]
	}
	return Value{Kind: "iban", Value: s, Secret: secret}
}

func email(r *rand.Rand) Value {
	first := []string{"jane", "j", "maria.del-mar", "o_brien", "x1234567", "Jean-Luc", "info+tag", "averyverylongname"}[r.IntN(8)]
	host := []string{"example.com", "mail.example.org", "corp.example.co.uk", "a-b.io", "company.de", "EXAMPLE.COM"}[r.IntN(6)]
	s := first + pick(r, small, 3) + "@" + host
	return Value{Kind: "email", Value: s, Secret: s[1:]}
}

func ssn(r *rand.Rand) Value {
	area := 1 + r.IntN(665)
	s := fmt.Sprintf("%03d-%02d-%04d", area, 1+r.IntN(99), 1+r.IntN(9999))
	return Value{Kind: "ssn", Value: s, Secret: s}
}

func phone(r *rand.Rand) Value {
	d := func(n int) string { return pick(r, numerals, n) }
	n := func() string { return pick(r, "23456789", 1) }
	nanp := func(a, b, c, e string) string {
		return a + n() + pick(r, "02345678", 1) + d(1) + b + n() + pick(r, "02345678", 1) + d(1) + c + d(4) + e
	}
	var s string
	switch r.IntN(7) {
	case 0:
		s = nanp("+1 ", " ", " ", "")
	case 1:
		s = nanp("(", ") ", "-", "")
	case 2:
		s = nanp("", "-", "-", "")
	case 3:
		s = "+44 20 " + d(4) + " " + d(4)
	case 4:
		s = "+49" + pick(r, "123456789", 1) + d(9)
	case 5:
		s = "+33 6 " + d(2) + " " + d(2) + " " + d(2) + " " + d(2)
	default:
		s = nanp("+1-", "-", "-", "")
	}
	return Value{Kind: "phone", Value: s, Secret: strings.TrimPrefix(s, "+")}
}

func token(r *rand.Rand) Value {
	t := []struct {
		prefix, of string
		n          int
	}{
		{"AK" + "IA", capital + "234567", 16}, {"gh" + "p_", alnum, 36}, {"github" + "_pat_", alnum, 82}, {"gl" + "pat-", alnum, 20},
		{"xo" + "xb-", numerals + "-" + alnum, 50}, {"sk" + "_live_", alnum, 24}, {"sk-" + "ant-api03-", alnum + "-_", 95}, {"sk-" + "proj-", alnum, 48},
		{"np" + "m_", alnum, 36}, {"AI" + "za", alnum + "-_", 35}, {"dap" + "i", "0123456789abcdef", 32}, {"do" + "p_v1_", "0123456789abcdef", 64},
		{"shp" + "at_", "0123456789abcdef", 32}, {"hv" + "s.", alnum, 24}, {"dckr" + "_pat_", alnum, 27}, {"pypi-" + "AgEIcHlwaS5vcmc", alnum, 70},
	}[r.IntN(16)]
	v := pick(r, t.of, t.n-3) + "a1B"
	if !strings.Contains(t.of, "B") {
		v = pick(r, t.of, t.n)
	}
	if !strings.Contains(t.of, "a") {
		v = pick(r, t.of, t.n)
	}
	return Value{Kind: "token", Value: t.prefix + v, Secret: v}
}

func jwt(r *rand.Rand) Value {
	e := base64.RawURLEncoding.EncodeToString
	s := e([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + e([]byte(`{"sub":"`+pick(r, numerals, 10)+`"}`)) + "." + pick(r, alnum+"-_", 43)
	return Value{Kind: "jwt", Value: s, Secret: s[3:]}
}

func secret(r *rand.Rand) Value {
	v := pick(r, small, 4) + pick(r, numerals, 3) + pick(r, capital, 3) + pick(r, alnum, 6)
	frames := []string{"password=%s", `"password": "%s"`, "DB_PASSWORD=%s", `"api_key": "%s"`, "--password %s", "Authorization: Bearer %s", "token: '%s'",
		"client_secret=%s", `"accessToken":"%s"`, "postgres://app:%s@db.internal:5432/x", "X-Auth-Token: %s"}
	return Value{Kind: "secret", Value: fmt.Sprintf(frames[r.IntN(len(frames))], v), Secret: v}
}

// Any makes a secret of any kind.
func Any(r *rand.Rand) Value {
	makers := []func(*rand.Rand) Value{card, card, iban, email, ssn, phone, token, jwt, secret}
	return makers[r.IntN(len(makers))](r)
}

// harmless makes something that looks like a secret and is none.
func harmless(r *rand.Rand) string {
	d := func(n int) string { return pick(r, numerals, n) }
	hex := func(n int) string { return pick(r, "0123456789abcdef", n) }
	switch r.IntN(14) {
	case 0:
		return fmt.Sprintf("v%d.%d.%d", r.IntN(20), r.IntN(50), r.IntN(100))
	case 1:
		return hex(8) + "-" + hex(4) + "-" + hex(4) + "-" + hex(4) + "-" + hex(12)
	case 2:
		return hex(40)
	case 3:
		return "sha256:" + hex(64)
	case 4:
		return stamp(r).Format("2006-01-02T15:04:05.000000000Z07:00")
	case 5:
		return fmt.Sprintf("%d", 1600000000000000000+r.Int64N(1e17))
	case 6:
		return fmt.Sprintf("10.%d.%d.%d:%d", r.IntN(256), r.IntN(256), r.IntN(256), r.IntN(65536))
	case 7: // Luhn fails by one
		c := []byte(Card(r))
		c[15] = '0' + (c[15]-'0'+1)%10
		return string(c)
	case 8:
		return "1" + d(15)
	case 9:
		return fmt.Sprintf("%s-%s-%s", d(4), d(2), d(2))
	case 10:
		return "000-" + d(2) + "-" + d(4)
	case 11:
		return "DE00" + d(18)
	case 12:
		return fmt.Sprintf("[%5d.%06d]", r.IntN(1e5), r.IntN(1e6))
	}
	return fmt.Sprintf("%d", r.IntN(1e9))
}

// Labelled makes a text of n lines, each with one secret or something harmless, and says where the secrets are.
func Labelled(r *rand.Rand, n int) (string, []Value) {
	var b strings.Builder
	var values []Value
	for range n {
		frame := [][2]string{{"", ""}, {"user ", " ok"}, {"a,b,", ",c"}, {"| ", " |"}, {"  - ", ""}, {"see: ", "."}, {"(", ")"}, {"\"", "\""}, {"\t", "\t"}}[r.IntN(9)]
		eol := []string{"\n", "\r\n"}[r.IntN(2)]
		b.WriteString(frame[0])
		if r.IntN(2) == 0 {
			b.WriteString(harmless(r))
		} else {
			v := Any(r)
			if v.Kind == "secret" { // what stands around it would be its own
				b.WriteString(eol)
				frame[1] = " x"
			}
			v.At = b.Len()
			values = append(values, v)
			b.WriteString(v.Value)
		}
		b.WriteString(frame[1] + eol)
	}
	return b.String(), values
}

// Blank replaces the values in text by blanks, to compare what stands beside them.
func Blank(text string, values []Value) string {
	b := []byte(text)
	for _, v := range values {
		for i := range len(v.Value) {
			b[v.At+i] = ' '
		}
	}
	return string(b)
}
