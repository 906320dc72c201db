package mask

import "bytes"

const (
	maxLocal  = 64  // RFC 5321 4.5.3.1.1
	maxDomain = 253 // RFC 1035 2.3.4, without the final dot
)

func emailDetector() *detector {
	return &detector{
		name: "email", version: 1,
		anchors: []anchor{{laneEmail, [4]*[256]bool{bytesOf("@"), setAlnum, setAny, setAny}}},
		find:    findEmail,
		keep:    bytesOf("@."),
		norm: func(dst, v []byte) []byte {
			for _, c := range v {
				dst = append(dst, lower(c))
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

// isDomain says whether d is a domain name under a top level that exists.
func isDomain(d []byte) bool {
	dot := bytes.LastIndexByte(d, '.')
	if dot <= 0 || dot+2 >= len(d) {
		return false
	}
	for k, c := range d {
		if c == '-' && (k == 0 || d[k-1] == '.' || d[k-1] == '-' && k < 2 || k+1 < len(d) && d[k+1] == '.') {
			return false
		}
	}
	var top [24]byte
	if len(d)-dot-1 > len(top) {
		return false
	}
	n := copy(top[:], d[dot+1:])
	for k := range n {
		top[k] = lower(top[k])
	}
	return topLevels[string(top[:n])]
}

func lower(c byte) byte {
	if is(c, clUpper) {
		return c | 0x20
	}
	return c
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
