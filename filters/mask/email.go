package mask

import (
	"strings"

	"golang.org/x/net/publicsuffix"
)

const (
	maxLocal  = 64  // RFC 5321 4.5.3.1.1
	maxDomain = 253 // RFC 1035 2.3.4, without the final dot
)

func emailDetector() *detector {
	return &detector{
		name: "email", version: 1,
		anchors: func(add func(a, b byte)) {
			for c := range 256 {
				if is(byte(c), clAlnum) {
					add('@', byte(c))
				}
			}
		},
		find: findEmail,
		keep: bytesOf("@."),
		norm: func(dst, v []byte) []byte {
			for _, c := range v {
				if is(c, clUpper) {
					c |= 0x20
				}
				dst = append(dst, c)
			}
			return dst
		},
	}
}

// findEmail looks for an address around the "@" at b[i]. Its first character is public.
func findEmail(w *window, i int) match {
	b := w.b
	s, least := i, max(w.floor, i-maxLocal-1)
	for s > least && is(b[s-1], clLocal) {
		s--
	}
	if i-s > maxLocal {
		return match{}
	}
	for s < i && !is(b[s], clAlnum) && b[s] != '_' {
		s++
	}
	if s == i || b[i-1] == '.' {
		return match{}
	}
	end := i + 1
	dots := 0
	for end < len(b) && (is(b[end], clAlnum) || b[end] == '-' || b[end] == '.') {
		if b[end] == '.' {
			if b[end-1] == '.' {
				break
			}
			dots++
		}
		end++
	}
	if end-i > maxDomain+2 {
		return match{}
	}
	if end+1 >= len(b) && !w.final {
		return undecided(s, s+1, s+1)
	}
	for end > i+1 && !is(b[end-1], clAlnum) {
		end--
	}
	if !isDomain(b[i+1:end]) || isRemotePath(b, end) || isAlgorithm(b[s:i], b[i+1:end]) {
		return match{}
	}
	return found(s, s+1, end)
}

// localSuffixes are top levels that are in use inside organisations and in examples (RFC 2606, RFC 6762
// appendix G).
var localSuffixes = map[string]bool{
	"test": true, "example": true, "invalid": true, "localhost": true, "local": true, "internal": true,
	"intranet": true, "private": true, "corp": true, "home": true, "lan": true, "localdomain": true,
}

// isDomain says whether d is a domain name under a top level that exists.
func isDomain(d []byte) bool {
	dot := strings.LastIndexByte(string(d), '.')
	if dot <= 0 || dot+2 >= len(d) {
		return false
	}
	for k, c := range d {
		if c == '-' && (k == 0 || d[k-1] == '.' || d[k-1] == '-' && k < 2 || k+1 < len(d) && d[k+1] == '.') {
			return false
		}
	}
	top := strings.ToLower(string(d[dot+1:]))
	if localSuffixes[top] {
		return true
	}
	_, icann := publicsuffix.PublicSuffix(top)
	return icann
}

// isRemotePath says whether what stands before b[end] is a login and a host, as scp, rsync and git write
// them and prompts show them.
func isRemotePath(b []byte, end int) bool {
	return end+1 < len(b) && b[end] == ':' && (b[end+1] == '/' || b[end+1] == '~')
}

// isAlgorithm knows the names that SSH gives to its algorithms and requests (RFC 4251 6).
func isAlgorithm(local, domain []byte) bool {
	switch string(domain) {
	case "openssh.com", "libssh.org", "lysator.liu.se", "ssh.com":
	default:
		return false
	}
	for _, c := range local {
		if c == '-' {
			return true
		}
	}
	return string(local) == "zlib"
}
