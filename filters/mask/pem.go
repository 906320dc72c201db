package mask

import "bytes"

const (
	pemBegin     = "-----BEGIN "
	pemLabelMax  = 64
	pemBodyMax   = 64 << 10 // longest that is followed: an RSA key of 32768 bits has 26 KB
	pemFirstWord = 16       // shortest first word of a body
)

func pemDetector() *detector {
	return &detector{
		name: "private-key", version: 1,
		anchors: func(add func(a, b byte)) { add('N', ' ') },
		find:    findPEM,
		run:     runPEM,
		keep:    pemKeep,
	}
}

var pemKeep = bytesOf(" \t\r\n\"',")

// findPEM looks for the body after a header such as -----BEGIN RSA PRIVATE KEY----- (RFC 7468). The header
// is shown. The body may be on lines of its own, or on one with escaped newlines as in JSON.
func findPEM(w *window, i int) match {
	b, s := w.b, i+2-len(pemBegin)
	if s < 0 || !bytes.HasPrefix(b[s:], []byte(pemBegin)) {
		return match{}
	}
	i += 2
	end := i
	for end < len(b) && end-i < pemLabelMax && (is(b[end], clUpper|clDigit) || b[end] == ' ') {
		end++
	}
	label := b[i:end]
	for n := 0; n < 5; n++ {
		if end == len(b) {
			return cutPEM(w, end) // the header is public
		}
		if b[end] != '-' {
			return match{}
		}
		end++
	}
	if !bytes.Contains(label, []byte("PRIVATE KEY")) || end < w.floor {
		return match{}
	}
	return findPEMBody(w, end)
}

// findPEMBody looks for the first word of the body, which is base64 or a header such as Proc-Type.
func findPEMBody(w *window, i int) match {
	b := w.b
	body := skipLayout(b, i)
	if body == len(b) {
		return cutPEM(w, body)
	}
	end := span(b, body, clB64, pemFirstWord)
	if end-body < pemFirstWord {
		if end == len(b) {
			return cutPEM(w, body)
		}
		if b[end] != '-' && b[end] != ':' || end == body {
			return match{}
		}
	}
	m := found(body, body, end)
	m.runs = true
	return m
}

// cutPEM waits from byte body on.
func cutPEM(w *window, body int) match {
	if w.final {
		return match{}
	}
	return undecided(body, body, body)
}

// skipLayout skips what may stand between the words of a body: blanks, newlines, and the two as a
// backslash and a letter.
func skipLayout(b []byte, i int) int {
	for i < len(b) {
		switch {
		case is(b[i], clSpace) || b[i] == '"' || b[i] == '\'' || b[i] == ',':
			i++
		case b[i] == '\\' && i+1 < len(b) && (b[i+1] == 'n' || b[i+1] == 'r' || b[i+1] == 't' || b[i+1] == '\\'):
			i += 2
		default:
			return i
		}
	}
	return i
}

// runPEM follows the body until -----END, or until something that no body holds.
func runPEM(w *window, i, n int) (int, bool) {
	b := w.b
	for i < len(b) {
		c := b[i]
		switch {
		case n > pemBodyMax:
			return i, true
		case is(c, clB64) || pemKeep[c] || c == ':':
			i++
			n++
		case c == '-' || c == '\\':
			if i+1 >= len(b) && !w.final {
				return i, false
			}
			if i+1 >= len(b) || c == '-' && b[i+1] == '-' {
				return i, true
			}
			i++
			n++
		default:
			return i, true
		}
	}
	return i, w.final
}
