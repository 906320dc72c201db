package mask

import "bytes"

const maxUserinfo = 512

func urlDetector() *detector {
	return &detector{
		name: "url-password", version: 1,
		anchors: []anchor{anchorOf(laneText, "://"), anchorOf(laneText, ":thi")},
		find:    findURLPassword,
	}
}

// userinfoEnd are the bytes that end the authority of a URL (RFC 3986 3.2), or the URL.
var userinfoEnd = setOf(func(c byte) bool { return c <= ' ' || c == 0x7f || bytes.IndexByte([]byte("/?#\"'<>`\\"), c) >= 0 })

// findURLPassword looks for the password in scheme://user:password@host.
func findURLPassword(w *window, i int) match {
	b := w.b
	if i+1 < len(b) && b[i+1] == 't' {
		return findOracle(w, i)
	}
	if i+2 < len(b) && b[i+2] != '/' || i < 1 || !is(b[i-1], clAlnum) {
		return match{}
	}
	colon, at := -1, -1
	end := i + 3
	for end < len(b) && end-i < maxUserinfo && !userinfoEnd[b[end]] {
		switch {
		case b[end] == ':' && colon < 0 && at < 0:
			colon = end
		case b[end] == '@':
			at = end
		}
		end++
	}
	if end >= len(b) && end-i < maxUserinfo && !w.final {
		if colon < 0 {
			return undecided(len(b), len(b), len(b))
		}
		warm := colon + 1
		if p := span(b, colon+1, clDigit, 6); p == len(b) && p-colon <= 6 { // a port
			warm = len(b)
		}
		return undecided(colon+1, colon+1, warm)
	}
	if colon < 0 || at <= colon+1 || isPlaceholder(b[colon+1:at]) || colon+1 < w.floor {
		return match{}
	}
	return found(colon+1, colon+1, at)
}

// findOracle looks for the password in jdbc:oracle:thin:user/password@host.
func findOracle(w *window, i int) match {
	const thin = ":thin:"
	b := w.b
	n := min(len(b)-i, len(thin))
	if string(b[i:i+n]) != thin[:n] || n < len(thin) && w.final {
		return match{}
	}
	if n < len(thin) {
		return undecided(len(b), len(b), len(b))
	}
	slash, end := -1, i+len(thin)
	for end < len(b) && end-i < maxUserinfo && b[end] != '@' && b[end] > ' ' && !(slash < 0 && b[end] == ':') {
		if b[end] == '/' && slash < 0 {
			slash = end
		}
		end++
	}
	if end >= len(b) && !w.final {
		from := len(b)
		if slash >= 0 {
			from = slash + 1
		}
		return undecided(from, from, from)
	}
	if slash < 0 || end >= len(b) || b[end] != '@' || end <= slash+1 || slash+1 < w.floor || isPlaceholder(b[slash+1:end]) {
		return match{}
	}
	return found(slash+1, slash+1, end)
}

// isPlaceholder says whether v stands for a secret rather than being one.
func isPlaceholder(v []byte) bool {
	if len(v) == 0 {
		return true
	}
	switch v[0] {
	case '<', '[':
		return true
	case '{':
		return len(v) > 1 && (v[1] == '{' || v[1] == '}' || is(v[1], clAlpha))
	case '$':
		return len(v) > 1 && (v[1] == '{' || v[1] == '(' || v[1] == '_' || is(v[1], clUpper) || isName(v[1:]))
	case '%':
		return len(v) == 2 && is(v[1], clAlpha) || len(v) > 1 && (v[1] == '(' || v[1] == '{' || v[1] == 's' || v[1] == 'q' || v[1] == 'v' || v[1] == '%')
	}
	for _, c := range v {
		if c != v[0] {
			return false
		}
	}
	return bytes.IndexByte([]byte("*xX.-_#?"), v[0]) >= 0 || len(v) == 1
}

// isName says whether v is an identifier without digits, with dots at most.
func isName(v []byte) bool {
	for _, c := range v {
		if !is(c, clAlpha) && c != '_' && c != '.' {
			return false
		}
	}
	return true
}
