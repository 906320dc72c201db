package mask

// An inner token is known by what stands in its middle. What stands before is held as the last word of the
// stream, which is why it is at most maxLocal bytes long.
type inner struct {
	mark           string // at the anchor
	set            *[256]bool
	before, atMost int // bytes of set before the mark
	min, max       int // bytes of set after it
	show           func(v []byte) int
	check          func(v []byte) bool
}

// find looks for a token whose mark is at i.
func (t inner) find(w *window, i int) match {
	b := w.b
	n := min(len(t.mark), len(b)-i)
	if string(b[i:i+n]) != t.mark[:n] {
		return match{}
	}
	s, least := i, max(w.floor, i-t.atMost-1, 1)
	for s > least && t.set[b[s-1]] && !escapedBefore(b, s) {
		s--
	}
	if k := i - s; k < t.before || k > t.atMost || inWord(b, s) {
		return match{}
	}
	show := s + t.show(b[s:i])
	from := s
	if t.mark[0] == ':' { // which has been shown when the rest of the mark comes
		from = show
	}
	end := i + n
	for end < len(b) && end-i-n <= t.max && t.set[b[end]] {
		end++
	}
	if end == len(b) && !w.final && end-i-len(t.mark) <= t.max {
		return undecided(min(from, end), min(show, end), min(show, end))
	}
	for end > i+n && b[end-1] == '.' { // of the sentence
		end--
	}
	if k := end - i - len(t.mark); n < len(t.mark) || k < t.min || k > t.max || t.check != nil && !t.check(b[s:end]) {
		return match{}
	}
	return found(from, show, end)
}

func (t inner) detector(name string, keep string, a anchor) *detector {
	return &detector{
		name: name, version: 1, last4: true, keep: bytesOf(keep),
		anchors: []anchor{a},
		find:    t.find,
	}
}

// showOne is the public prefix of words: their first byte has been shown when the mark is seen.
func showOne(before []byte) int { return min(1, len(before)) }

// azureDetector knows the client secrets of Entra ID, ???nQ~ and more, and the keys of Azure's services, which
// carry JQQJ9 in their middle.
func azureDetector() *detector {
	secret := inner{
		mark: "Q~", set: setOf(func(c byte) bool { return is(c, clB64URL) || c == '.' || c == '~' }),
		before: 4, atMost: 4, min: 31, max: 34, show: showOne,
		check: func(v []byte) bool { return is(v[3], clDigit) },
	}
	service := inner{
		mark: "JQQJ9", set: tokAlnum, before: 52, atMost: 52, min: 27, max: 31, show: showOne,
	}
	d := secret.detector("azure-token", "", anchor{laneText, [4]*[256]bool{bytesOf("Q"), bytesOf("~"), tokURL, tokURL}})
	d.anchors = append(d.anchors, anchorOf(laneText, "JQQJ"))
	d.find = func(w *window, i int) match {
		if m := secret.find(w, i); m.verdict != no {
			return m
		}
		return service.find(w, i)
	}
	return d
}

// telegramDetector knows the tokens of bots: a number, a colon, and 35 bytes that start with A.
func telegramDetector() *detector {
	t := inner{
		mark: ":A", set: tokURL, before: 6, atMost: 12, min: 34, max: 34,
		show: func(before []byte) int { return len(before) + 1 },
		check: func(v []byte) bool {
			for _, c := range v {
				if c == ':' {
					return true
				}
				if !is(c, clDigit) {
					return false
				}
			}
			return false
		},
	}
	return t.detector("telegram-token", ":", anchor{laneText, [4]*[256]bool{bytesOf(":"), bytesOf("A"), tokURL, tokURL}})
}

// terraformDetector knows the tokens of HCP Terraform.
func terraformDetector() *detector {
	t := inner{mark: ".atlasv1.", set: tokURL, before: 14, atMost: 14, min: 60, max: 80, show: showOne}
	return t.detector("terraform-token", ".", anchorOf(laneText, ".atl"))
}

// mailchimpDetector knows the keys of Mailchimp, which end in the name of a data centre.
func mailchimpDetector() *detector {
	t := inner{mark: "-us", set: tokHex, before: 32, atMost: 32, min: 1, max: 2, show: showOne, check: hasDigit}
	return t.detector("mailchimp-token", "-", anchor{laneText, [4]*[256]bool{bytesOf("-"), bytesOf("u"), bytesOf("s"), setDigit}})
}
