package corpus

import (
	"encoding/base64"
	"math/rand/v2"
	"strings"
)

// Like makes n values that look like v: digits are other digits, letters other letters of the same case and, where v is
// hexadecimal, of the same alphabet. Words without a digit stay.
func Like(r *rand.Rand, v string, n int) []string {
	var out []string
	hex := strings.Trim(v, "0123456789abcdef-") == ""
	for range n {
		b := []byte(v)
		for i, c := range b {
			switch {
			case c >= '0' && c <= '9' && !strings.HasPrefix(v, "$"):
				b[i] = pick(r, numerals, 1)[0]
			case c >= 'a' && c <= 'f' && hex:
				b[i] = pick(r, "abcdef", 1)[0]
			case c >= 'A' && c <= 'Z' && len(v) >= 16:
				b[i] = pick(r, capital, 1)[0]
			}
		}
		out = append(out, string(b))
	}
	return out
}

// Base64Line is a line of a private key's body.
func Base64Line(r *rand.Rand) string {
	return base64.StdEncoding.EncodeToString(random(r, 48))
}
