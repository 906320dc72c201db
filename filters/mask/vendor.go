package mask

// A token is a credential that its issuer made easy to recognize.
type token struct {
	name     string
	prefix   string // shown
	class    uint8  // of the bytes after it
	min, max int    // number of those
	ending   func(v []byte) bool
}

var tokens = []token{
	{name: "aws-access-key", prefix: "AKIA", class: clUpper | clDigit, min: 16, max: 16},
	{name: "aws-access-key", prefix: "ASIA", class: clUpper | clDigit, min: 16, max: 16},
	{name: "github-token", prefix: "ghp_", class: clAlnum, min: 36, max: 251},
	{name: "github-token", prefix: "gho_", class: clAlnum, min: 36, max: 251},
	{name: "github-token", prefix: "ghu_", class: clAlnum, min: 36, max: 251},
	{name: "github-token", prefix: "ghs_", class: clAlnum, min: 36, max: 251},
	{name: "github-token", prefix: "ghr_", class: clAlnum, min: 36, max: 251},
	{name: "github-token", prefix: "github_pat_", class: clAlnum | clB64URL, min: 36, max: 251},
}

func vendorDetectors() []*detector {
	var ds []*detector
	for _, t := range tokens {
		ds = append(ds, t.detector())
	}
	return ds
}

// detector makes the detector of t. It is anchored at the end of the prefix, which is rarer than the start.
func (t token) detector() *detector {
	k := len(t.prefix) - 2
	return &detector{
		name: t.name, version: 1, last4: true,
		anchors: func(add func(a, b byte)) { add(t.prefix[k], t.prefix[k+1]) },
		find: func(w *window, i int) match {
			s := i - k
			if s < w.floor || s < 1 || string(w.b[s:i+2]) != t.prefix || isWord(w.b[s-1]) {
				return match{}
			}
			return t.find(w, s)
		},
	}
}

// find looks at the bytes after the prefix at s.
func (t token) find(w *window, s int) match {
	v := s + len(t.prefix)
	end := span(w.b, v, t.class, t.max+1)
	if end == len(w.b) && end-v <= t.max && !w.final {
		return undecided(s, v, v)
	}
	if n := end - v; n < t.min || n > t.max || t.ending != nil && !t.ending(w.b[v:end]) {
		return match{}
	}
	return found(s, v, end)
}
