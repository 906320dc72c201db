package mask

import (
	"bytes"
	"encoding/base64"
)

// jwtHeaderMax is the longest header that is looked at; certificates in one ("x5c") make it long.
const jwtHeaderMax = 4 << 10

func jwtDetector() *detector {
	return &detector{
		name: "jwt", version: 1,
		anchors: []anchor{anchorOf(laneText, "eyJ"), anchorOf(laneText, "eyAi"), anchorOf(laneText, "ewog"), anchorOf(laneText, "ewoJ"), anchorOf(laneText, "ew0K")},
		find:    findJWT,
		run:     runJWT,
		keep:    bytesOf("."),
	}
}

// findJWT looks for a JSON web token (RFC 7519) in compact form, signed or encrypted. "eyJ" is {" in
// base64url and public.
func findJWT(w *window, i int) match {
	b, s := w.b, i
	if s < w.floor || s < 1 || is(b[s-1], clB64URL) && !escapedBefore(b, s) {
		return match{}
	}
	dot := padded(b, span(b, s, clB64URL, jwtHeaderMax))
	if dot == len(b) && dot-s < jwtHeaderMax && !w.final {
		return undecided(s, min(s+3, len(b)), min(s+3, len(b)))
	}
	if dot == len(b) || b[dot] != '.' || !isJOSEHeader(b[s:dot]) {
		return match{}
	}
	const enough = 4
	end := span(b, dot+1, clB64URL, enough)
	if end-dot-1 < enough && end == len(b) && !w.final {
		return undecided(s, min(s+3, len(b)), min(s+3, len(b)))
	}
	if end-dot-1 < enough && !(end < len(b) && b[end] == '.') {
		return match{}
	}
	m := found(s, s+3, end)
	m.runs = true
	return m
}

// isJOSEHeader says whether v is base64url of a JSON object that names an algorithm (RFC 7515 4.1.1).
func isJOSEHeader(v []byte) bool {
	v = bytes.TrimRight(v, "=")
	raw := make([]byte, base64.RawURLEncoding.DecodedLen(len(v)))
	n, err := base64.RawURLEncoding.Decode(raw, v)
	return err == nil && raw[0] == '{' && bytes.Contains(raw[:n], []byte(`"alg"`))
}

// padded skips at most two signs of padding.
func padded(b []byte, i int) int {
	for n := 0; n < 2 && i < len(b) && b[i] == '='; n++ {
		i++
	}
	return i
}

// runJWT follows the segments after the header. A dot belongs to the token when a segment follows it.
func runJWT(w *window, i, n int) (int, bool) {
	b := w.b
	for {
		i = padded(b, span(b, i, clB64URL, len(b)))
		if i == len(b) {
			return i, w.final
		}
		if b[i] != '.' {
			return i, true
		}
		if i+1 == len(b) {
			return i, w.final
		}
		if !is(b[i+1], clB64URL) && b[i+1] != '.' {
			return i, true
		}
		i++
	}
}
