package mask

import "bytes"

const maxUserinfo = 512

func urlDetector() *detector {
	return &detector{
		name: "url-password", version: 1,
		anchors: []anchor{anchorOf(laneText, "://")},
		find:    findURLPassword,
	}
}

// userinfoEnd are the bytes that end the authority of a URL (RFC 3986 3.2), or the URL.
var userinfoEnd = setOf(func(c byte) bool { return c <= ' ' || c == 0x7f || bytes.IndexByte([]byte("/?#\"'<>`\\"), c) >= 0 })

// findURLPassword looks for the password in scheme://user:password@host.
func findURLPassword(w *window, i int) match {
	b := w.b
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
		return len(v) > 1 && (v[1] == '(' || v[1] == '{' || v[1] == 's' || v[1] == 'q' || v[1] == 'v' || v[1] == '%')
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
