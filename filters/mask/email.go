package mask

import "bytes"

const (
	maxLocal  = 64  // RFC 5321 4.5.3.1.1
	maxDomain = 253 // RFC 1035 2.3.4, without the final dot
)

func emailDetector() *detector {
	return &detector{
		name: "email", version: 1,
		anchors: []anchor{{laneEmail, [4]*[256]bool{bytesOf("@"), setDomain, setAny, setAny}}},
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

// setDomain is what a domain can start with: a letter, also one of Europe's in UTF-8, or a digit.
var setDomain = setOf(func(c byte) bool { return is(c, clAlnum) || isLead(c) })

// isLead says whether c starts a character of two bytes that is a letter of a European script.
func isLead(c byte) bool { return c >= 0xc3 && c <= 0xd4 }

func isContinuation(c byte) bool { return c&0xc0 == 0x80 }

// localStart returns where the local part starts that ends before b[i], not before least.
func localStart(b []byte, i, least int) int {
	for i > least {
		switch {
		case is(b[i-1], clLocal):
			i--
		case i-2 >= least && isContinuation(b[i-1]) && isLead(b[i-2]):
			i -= 2
		default:
			return i
		}
	}
	return i
}

// findEmail looks for an address around the "@" at b[i]. Its first character is public. Of a local part in quotes only
// the last word is known.
func findEmail(w *window, i int) match {
	b := w.b
	at := i
	if i > w.floor && b[i-1] == '"' {
		at--
	}
	s := localStart(b, at, max(w.floor, at-maxLocal-1))
	if at-s > maxLocal {
		return match{}
	}
	for s < at && !is(b[s], clAlnum) && b[s] != '_' && b[s] < 0x80 {
		s++
	}
	if s == at || b[at-1] == '.' {
		return match{}
	}
	end := domainEnd(b, i+1)
	if end-i > maxDomain+2 {
		return match{}
	}
	show := s + firstRune(b[s:at])
	if end+1 >= len(b) && !w.final {
		return undecided(s, show, show)
	}
	for end > i+1 && (b[end-1] == '-' || b[end-1] == '.') {
		end--
	}
	if !isDomain(b[i+1:end]) || isRemotePath(b, end) || isAlgorithm(b[s:i], b[i+1:end]) || isNoise(b, s, end) {
		return match{}
	}
	return found(s, show, end)
}

// domainEnd returns the end of what can be a domain name from b[i] on.
func domainEnd(b []byte, i int) int {
	for i < len(b) {
		switch {
		case is(b[i], clAlnum) || b[i] == '-':
			i++
		case b[i] == '.' && b[i-1] != '.':
			i++
		case isLead(b[i]) && i+1 < len(b) && isContinuation(b[i+1]):
			i += 2
		default:
			return i
		}
	}
	return i
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
	if t := d[dot+1:]; t[0] >= 0x80 || bytes.HasPrefix(t, []byte("xn--")) {
		return len(t) >= 4 // of a script of its own: two letters or more
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

// shortest is how long an address is that chance does not make of noise: in eight random megabytes there are some of
// the form a@b.cd.
const shortest = 8

// isNoise says whether b[s:end] is too short to be an address between bytes that no text has.
func isNoise(b []byte, s, end int) bool {
	if end-s >= shortest {
		return false
	}
	return s > 0 && isBinary(b[s-1]) || end < len(b) && isBinary(b[end])
}

func isBinary(c byte) bool {
	return c < ' ' && c != '\t' && c != '\n' && c != '\r' && c != esc || c >= 0x7f
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
