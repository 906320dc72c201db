package mask

import (
	"bytes"
	"encoding/base64"
)

const (
	pemBegin     = "-----BEGIN "
	ssh2Begin    = "---- BEGIN " // of ssh.com and PuTTY
	pemLabelMax  = 64
	pemBodyMax   = 64 << 10 // longest that is followed: an RSA key of 32768 bits has 26 KB
	pemFirstWord = 16       // shortest first word of a body
)

func pemDetector() *detector {
	return &detector{
		name: "private-key", version: 1,
		anchors: []anchor{anchorOf(laneText, "GIN ")},
		find:    findPEM,
		run:     runPEM,
		keep:    pemKeep,
	}
}

var pemKeep = bytesOf(" \t\r\n\"',>#*|;")

// findPEM looks for the body after a header such as -----BEGIN RSA PRIVATE KEY----- (RFC 7468). The header
// is shown. The body may be on lines of its own, or on one with escaped newlines as in JSON.
func findPEM(w *window, i int) match {
	b, s := w.b, i+4-len(pemBegin)
	if i+4 > len(b) && !w.final {
		return cutPEM(w, len(b))
	}
	dashes := 5
	if s >= 0 && bytes.HasPrefix(b[s:], []byte(ssh2Begin)) {
		dashes = 4
	} else if s < 0 || !bytes.HasPrefix(b[s:], []byte(pemBegin)) {
		return match{}
	}
	i += 4
	end := i
	for end < len(b) && end-i < pemLabelMax && (is(b[end], clUpper|clDigit) || b[end] == ' ') {
		end++
	}
	label := b[i:end]
	for n := 0; n < dashes; n++ {
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
	body, cut := skipHeaders(b, skipLayout(b, i))
	if cut && !w.final {
		return cutPEM(w, body)
	}
	if body == len(b) || b[body] == '\\' && body+1 == len(b) {
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

// skipHeaders skips lines such as "Version: GnuPG" and "Proc-Type: 4,ENCRYPTED" before a body (RFC 4880 6.2, RFC 1421 4.6).
// Cut says that the window ends in what may be one, which starts at the index it returns.
func skipHeaders(b []byte, i int) (body int, cut bool) {
	for range 8 {
		end := i
		for end < len(b) && end-i < 32 && (is(b[end], clAlnum) || b[end] == '-') {
			end++
		}
		if end == len(b) {
			return i, end-i < 32
		}
		if end == i || b[end] != ':' {
			return i, false
		}
		nl := bytes.IndexByte(b[end:min(len(b), end+256)], '\n')
		if nl < 0 {
			return i, len(b)-end < 256
		}
		i = skipLayout(b, end+nl+1)
	}
	return i, false
}

// linePrefix are what stands before the lines of a key in a quote, a comment, a table or a difference.
var linePrefix = bytesOf(">#*|/;")

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
		case is(b[i], clSpace) || b[i] == '"' || b[i] == '\'' || b[i] == ',' || linePrefix[b[i]] || b[i] == '+':
			i++
		case b[i] == '-' && b[i-1] == '\n' && i+1 < len(b) && b[i+1] != '-': // of a difference
			i++
		case is(b[i], clDigit) && lineNumber(b, i) > i:
			i = lineNumber(b, i)
		case b[i] == '\\' && i+1 < len(b) && (b[i+1] == 'n' || b[i+1] == 'r' || b[i+1] == 't' || b[i+1] == '\\'):
			i += 2
		default:
			return i
		}
	}
	return i
}

// lineNumber returns the end of the number of a line that starts at b[i], or i.
func lineNumber(b []byte, i int) int {
	end := span(b, i, clDigit, 6)
	if end < len(b) && (b[end] == '\t' || b[end] == ' ' || b[end] == ':') {
		return end + 1
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
		case is(c, clB64) || pemKeep[c] || c == ':' || linePrefix[c]:
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

// encodedKeyDetector knows a private key in PEM that was put into base64 once more, as in a kubeconfig's
// client-key-data and in Kubernetes Secrets.
func encodedKeyDetector() *detector {
	return &detector{
		name: "encoded-key", version: 1,
		anchors: []anchor{anchorOf(laneText, "LS0t")},
		find:    findEncodedKey,
		run: func(w *window, i, n int) (int, bool) {
			to := span(w.b, i, clB64, len(w.b))
			return to, to < len(w.b) || w.final
		},
	}
}

// encodedBegin is base64 of "-----BEGIN ".
const encodedBegin = "LS0tLS1CRUdJTi"

func findEncodedKey(w *window, s int) match {
	const look = 48 // holds the whole label
	b := w.b
	if s < w.floor || s > 0 && is(b[s-1], clB64) && b[s-1] != '=' {
		return match{}
	}
	end := span(b, s, clB64, look)
	if n := min(len(encodedBegin), end-s); string(b[s:s+n]) != encodedBegin[:n] {
		return match{}
	}
	if end-s < look && end == len(b) && !w.final {
		show := min(end, s+len(encodedBegin))
		return undecided(s, show, show)
	}
	var raw [look]byte
	n, _ := base64.StdEncoding.Decode(raw[:], b[s:s+(end-s)&^3])
	if !bytes.Contains(raw[:n], []byte("PRIVATE KEY")) {
		return match{}
	}
	m := found(s, s+len(encodedBegin), end)
	m.runs = true
	return m
}

// puttyDetector knows the private part of PuTTY's key files.
func puttyDetector() *detector {
	return &detector{name: "putty-key", version: 1, anchors: []anchor{anchorOf(laneText, "e-Li")}, find: findPuTTY}
}

// findPuTTY looks for as many lines of base64 as "Private-Lines: n" says.
func findPuTTY(w *window, i int) match {
	const head, most = "Private-Lines: ", 100
	b, s := w.b, i-len("Privat")
	if s < 0 || !bytes.HasPrefix(b[s:], []byte(head)[:min(len(head), len(b)-s)]) {
		return match{}
	}
	n := 0
	t := s + len(head)
	for t < len(b) && is(b[t], clDigit) && n <= most {
		n = n*10 + int(b[t]-'0')
		t++
	}
	from := t
	for from < len(b) && (b[from] == '\r' || b[from] == '\n') {
		from++
	}
	if from >= len(b) {
		return cutPEM(w, len(b))
	}
	if n == 0 || n > most || from == t || from < w.floor {
		return match{}
	}
	end := from
	for range n {
		end = span(b, end, clB64, 80)
		if end == len(b) && !w.final {
			return undecided(from, from, from)
		}
		for end < len(b) && (b[end] == '\r' || b[end] == '\n') {
			end++
		}
	}
	end = from + len(bytes.TrimRight(b[from:end], "\r\n"))
	if end-from < pemFirstWord {
		return match{}
	}
	m := found(from, from, end)
	m.lines = true
	return m
}
