package mask

import "strings"

const ibanMax = 34

func ibanDetector() *detector {
	return &detector{
		name: "iban", version: 1,
		anchors: ibanAnchors(),
		find:    findIBAN,
		keep:    setOf(func(c byte) bool { return numberGlue(c) || c >= 0x80 }),
		last4:   true,
		norm: func(dst, v []byte) []byte {
			for _, c := range v {
				if is(c, clLower) {
					c &^= 0x20
				}
				if is(c, clAlnum) {
					dst = append(dst, c)
				}
			}
			return dst
		},
	}
}

// ibanShapes are the countries of the IBAN registry with the shape of what follows the check digits: n
// digits, a upper-case letters, c either.
var ibanShapes = map[[2]byte]string{}

func init() {
	for line := range strings.FieldsSeq(`
		AD:n8c12 AE:n19 AL:n8c16 AT:n16 AZ:a4c20 BA:n16 BE:n12 BG:a4n6c8 BH:a4c14 BI:n23 BR:n23a1c1 BY:c4n4c16
		CH:n5c12 CR:n18 CY:n8c16 CZ:n20 DE:n18 DJ:n23 DK:n14 DO:c4n20 EE:n16 EG:n25 ES:n20 FI:n14 FK:a2n12 FO:n14
		FR:n10c11n2 GB:a4n14 GE:a2n16 GI:a4c15 GL:n14 GR:n7c16 GT:c4c20 HN:a4n20 HR:n17 HU:n24 IE:a4n14 IL:n19 IQ:a4n15
		IS:n22 IT:a1n10c12 JO:a4n4c18 KW:a4c22 KZ:n3c13 LB:n4c20 LC:a4c24 LI:n5c12 LT:n16 LU:n3c13 LV:a4c13 LY:n21
		MC:n10c11n2 MD:c2c18 ME:n18 MK:n3c10n2 MN:n16 MR:n23 MT:a4n5c18 MU:a4n19a3 NI:a4n20 NL:a4n10 NO:n11 OM:n3c16
		PK:a4c16 PL:n24 PS:a4c21 PT:n21 QA:a4c21 RO:a4c16 RS:n18 RU:n14c15 SA:n2c18 SC:a4n20a3 SD:n14 SE:n20 SI:n15
		SK:n20 SM:a1n10c12 SO:n19 ST:n21 SV:a4n20 TL:n19 TN:n20 TR:n6c16 UA:n6c19 VA:n18 VG:a4n16 XK:n16 YE:a4n4c18`) {
		ibanShapes[[2]byte{line[0], line[1]}] = expandShape(line[3:])
	}
}

// ibanAnchors are the country and the check digits.
func ibanAnchors() (as []anchor) {
	for c := range ibanShapes {
		a := anchorFold(laneIBAN, string(c[:]))
		a.at[2], a.at[3] = setDigit, setDigit
		as = append(as, a)
	}
	return as
}

func expandShape(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); {
		kind, n := s[i], 0
		for i++; i < len(s) && is(s[i], clDigit); i++ {
			n = n*10 + int(s[i]-'0')
		}
		out.WriteString(strings.Repeat(string(kind), n))
	}
	return out.String()
}

func upper(c byte) byte {
	if is(c, clLower) {
		return c &^ 0x20
	}
	return c
}

// findIBAN looks for an international bank account number (ISO 13616): country, length and shape, mod 97;
// in one word or in groups of four. The country and the check digits are public.
func findIBAN(w *window, i int) match {
	b, s := w.b, i
	if s+2 < len(b) && !is(b[s+2], clDigit) || s < w.floor || s < 1 || !is(b[s], clAlpha) || inWord(b, s) {
		return match{}
	}
	shape, ok := ibanShapes[[2]byte{upper(b[s]), upper(b[s+1])}]
	if !ok {
		return match{}
	}
	var v [ibanMax]byte
	n, sep, t := 0, byte(0), s
	for n < len(shape)+4 {
		if t >= len(b) {
			if w.final {
				return match{}
			}
			return undecided(s, min(s+4, len(b)), min(s+4, len(b)))
		}
		c := b[t]
		if n >= 4 && n%4 == 0 && (sep == 0 && n == 4 || sep != 0 && b[t-1] != sep) {
			k, cut := glueAt(b, t)
			if cut && !w.final {
				return undecided(s, s+4, s+4)
			}
			if k > 0 && (sep == 0 || b[t+k-1] == sep) {
				sep = b[t+k-1]
				t += k
				continue
			}
		}
		if sep != 0 && n%4 == 0 && b[t-1] != sep || !ibanChar(shape, n, c) {
			return match{}
		}
		v[n] = upper(c)
		n++
		t++
	}
	if t >= len(b) && !w.final {
		return undecided(s, s+4, s+4)
	}
	if t < len(b) && isWord(b[t]) || !mod97(v[:n]) {
		return match{}
	}
	return found(s, s+4, t)
}

// ibanChar says whether c may be character n of an IBAN.
func ibanChar(shape string, n int, c byte) bool {
	switch {
	case n < 2:
		return is(c, clAlpha)
	case n < 4 || shape[n-4] == 'n':
		return is(c, clDigit)
	case shape[n-4] == 'a':
		return is(c, clAlpha)
	}
	return is(c, clAlnum)
}

// mod97 checks the check digits (ISO 7064 MOD 97-10).
func mod97(v []byte) bool {
	if c := int(v[2]-'0')*10 + int(v[3]-'0'); c < 2 || c > 98 {
		return false
	}
	r := 0
	for k := range v {
		c := v[(k+4)%len(v)]
		if is(c, clDigit) {
			r = (r*10 + int(c-'0')) % 97
		} else {
			r = (r*100 + int(c-'A') + 10) % 97
		}
	}
	return r == 1
}
