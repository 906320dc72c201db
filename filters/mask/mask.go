// Package mask hides secrets and personal data in streams of output.
//
// An [Engine] is a compiled, immutable set of detectors. [Engine.Stream] makes the state of one
// direction of one channel; bytes go in by [Stream.Append] and come out masked. For every way of
// cutting the same bytes into chunks the output is the same, bytes that are no secret come out
// unchanged and at once, and only bytes that may be the middle of a secret wait for the ones that
// decide. The package starts no goroutine and no timer: a caller that sees [Stream.Held] above zero
// and hears nothing more within [Stream.Patience] calls [Stream.Expire], which masks.
//
// Matching is done on the plain projection of the bytes: colours and other escapes that do not move
// the cursor are skipped, kept, and put back where they were. [Screen] looks again at what a stream
// cannot see, the rows of a terminal that were drawn in pieces.
//
// README.md lists every detector, what it knows and what no masker can find.
package mask

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
	"time"
)

// Config says what an Engine looks for and how it replaces. The zero value is every built-in detector
// and same-width stars.
type Config struct {
	// Detectors names those in force, as [Detectors] lists them. Empty means all; names with a leading
	// "-" are taken away from all. Patterns, Literals and Fields are always in force.
	Detectors []string `yaml:"detectors"`
	// Style is how values are replaced. Default [Stars].
	Style Style `yaml:"style"`
	// TokenKey is the HMAC key of style [Token], at least 16 bytes. Values are equal in all streams of
	// all engines that share it.
	TokenKey []byte `yaml:"-"`
	// Patterns are the operator's own, in RE2 syntax. A match never spans lines.
	Patterns []Pattern `yaml:"patterns"`
	// Literals are masked wherever they stand, in the case they are written in. At least 4 bytes each.
	Literals []string `yaml:"literals"`
	// Fields are names of JSON fields and CSV columns whose values are masked, whatever they hold; case
	// does not count.
	Fields []string `yaml:"fields"`
}

// Pattern is a named regular expression of the operator. Its matches are masked whole, or only the
// group named "secret" if it has one.
type Pattern struct {
	Name  string `yaml:"name"`
	Regex string `yaml:"regex"`
}

// StreamOptions are what differs between streams of one engine.
type StreamOptions struct {
	// Style overrides the engine's. Zero keeps it.
	Style Style
	// Unmask names detectors, patterns, or "literal" and "field", that are left alone in this stream;
	// [All] means all of them.
	Unmask []string
	// OnHit, if set, is told of every masked value when it is decided. It must not call the stream.
	OnHit func(Hit)
}

// A Hit is one masked value. It never holds the value.
type Hit struct {
	Detector string
	Offset   int64 // of its first byte in the stream's plain projection, from 0
	Line     int64 // from 1
	Column   int64 // from 1, in bytes of the plain projection
	Length   int   // bytes; for a value that is masked while it still runs, those known when it was decided
}

// Hits counts masked values by the name of the detector.
type Hits map[string]uint64

// Waits that [Stream.Patience] returns.
const (
	// HotWait is for bytes that are beyond a detector's public prefix; Expire masks them.
	HotWait = 100 * time.Millisecond
	// WarmWait is for bytes that may yet belong to a secret but most likely do not, such as the last
	// word of a chunk, which is the start of an e-mail address if an "@" follows; Expire shows them.
	WarmWait = 15 * time.Millisecond
)

// An Engine is a compiled set of detectors. It is immutable and safe for concurrent use.
type Engine struct {
	filter    [1 << 16]uint16 // see next
	table     [1 << 16]uint16 // first pair of an anchor to index into groups; 0: none
	groups    [][]member
	probe     *probe      // nil where there is none; see next
	starts    [256]bool   // bytes that an operator's own value can start with
	detectors []*detector // index is detector.id
	style     Style
	mac       *hasher
	fields    *fieldSet
}

// A ConfigError is what [New] says of a Config that it cannot use.
type ConfigError struct {
	Path string // of what is wrong, in the keys of the YAML tags: "patterns[1].regex"
	Msg  string
	Hint string // what to do
}

func (e *ConfigError) Error() string { return "masking: " + e.Path + " " + e.Msg + "; " + e.Hint }

// bad makes a ConfigError of the entry i of the list path.
func bad(path string, i int, rest, msg, hint string) error {
	return &ConfigError{fmt.Sprintf("%s[%d]%s", path, i, rest), msg, hint}
}

// New compiles c.
func New(c Config) (*Engine, error) {
	e := &Engine{style: c.Style}
	if e.style == 0 {
		e.style = Stars
	}
	if e.style > Token {
		return nil, &ConfigError{"style", fmt.Sprintf("%d is not a style", c.Style), "use Stars, Last4 or Token"}
	}
	key := c.TokenKey
	if e.style == Token && len(key) < 16 {
		return nil, &ConfigError{"style", "token needs a key", "give a token key of at least 16 bytes"}
	}
	e.mac = newHasher(key)
	chosen, err := choose(c.Detectors)
	if err != nil {
		return nil, err
	}
	own, err := c.operators(e)
	if err != nil {
		return nil, err
	}
	e.install(append(own, chosen...))
	if probing {
		e.probe = newProbe(own)
	}
	return e, nil
}

// operators makes the detectors that the operator wrote.
func (c Config) operators(e *Engine) ([]*detector, error) {
	var own []*detector
	if len(c.Literals) > 0 {
		d, err := newLiterals(c.Literals)
		if err != nil {
			return nil, err
		}
		own = append(own, d)
	}
	if len(c.Fields) > 0 {
		f, err := newFields(c.Fields)
		if err != nil {
			return nil, err
		}
		e.fields = f
		own = append(own, f.detector())
	}
	for i, p := range c.Patterns {
		if p.Name == "" {
			return nil, bad("patterns", i, ".name", "is missing", "name the pattern; the name is shown where it hits")
		}
		d, err := newPattern(p)
		if err != nil {
			var se *syntax.Error
			if errors.As(err, &se) {
				err = fmt.Errorf("%s: %q", se.Code, se.Expr)
			}
			return nil, bad("patterns", i, ".regex", fmt.Sprintf("of %q: %v", p.Name, err), "write it in RE2 syntax, and so that it needs two bytes or more")
		}
		own = append(own, d)
	}
	return own, nil
}

// choose picks the built-in detectors that names ask for.
func choose(names []string) ([]*detector, error) {
	all := builtin()
	if len(names) == 0 {
		return all, nil
	}
	known := map[string]bool{}
	for _, d := range all {
		known[d.name] = true
	}
	want := map[string]bool{}
	minus := strings.HasPrefix(names[0], "-")
	for i, n := range names {
		bare := strings.TrimPrefix(n, "-")
		if !known[bare] {
			return nil, bad("detectors", i, "", fmt.Sprintf("%q is not known", bare), "known are "+strings.Join(namesOf(all), ", "))
		}
		if minus != strings.HasPrefix(n, "-") {
			return nil, bad("detectors", i, "", "mixes names with and without \"-\"", "say either what to use or what to leave out")
		}
		want[bare] = true
	}
	return slices.DeleteFunc(all, func(d *detector) bool { return want[d.name] == minus }), nil
}

// namesOf lists the names of ds.
func namesOf(ds []*detector) []string {
	var out []string
	for _, d := range ds {
		if !slices.Contains(out, d.name) {
			out = append(out, d.name)
		}
	}
	return out
}

// A member of a group is a detector, and what has to follow the pair of bytes: the rest of its anchors.
type member struct {
	d    *detector
	rest []rest
}

type rest [2]*[256]bool

// at says whether one of the anchors is at b[i], as far as b goes.
func (a *member) at(b []byte, i int) bool {
	for _, r := range a.rest {
		if (i+2 >= len(b) || r[0][b[i+2]]) && (i+3 >= len(b) || r[1][b[i+3]]) {
			return true
		}
	}
	return false
}

// install numbers the detectors and builds the tables that find their anchors. Where two detectors
// share an anchor, the one that comes first is asked first.
func (e *Engine) install(ds []*detector) {
	e.groups = [][]member{nil}
	sets := map[string]uint16{"": 0}
	members := make([]string, 1<<16) // for every pair of bytes: the anchors it begins, as detectors and rests
	var rests []rest
	for i, d := range ds {
		d.id = i
		for _, a := range d.anchors {
			lane := uint16(1) << a.lane
			n := slices.IndexFunc(rests, func(r rest) bool { return *r[0] == *a.at[2] && *r[1] == *a.at[3] })
			if n < 0 {
				n, rests = len(rests), append(rests, rest{a.at[2], a.at[3]})
			}
			one := string([]byte{byte(i >> 8), byte(i), byte(n >> 8), byte(n)})
			a.pairs(0, func(k int) {
				e.filter[k] |= lane
				members[k] += one
			})
			for c := range 256 {
				e.starts[c] = e.starts[c] || a.lane == laneOperator && a.at[0][c] && c >= ' ' && !is(byte(c), clLocal) && c != '"'
			}
			a.pairs(2, func(k int) { e.filter[k] |= lane << 8 })
		}
	}
	e.detectors = ds
	for k, m := range members {
		g, ok := sets[m]
		if !ok {
			g = e.group(m, rests)
			sets[m] = g
		}
		e.table[k] = g
	}
}

// group makes the group of the members m. There is one for every pair of bytes at most.
func (e *Engine) group(m string, rests []rest) uint16 {
	var g []member
	for ; m != ""; m = m[4:] {
		d, r := e.detectors[int(m[0])<<8|int(m[1])], rests[int(m[2])<<8|int(m[3])]
		if n := len(g); n > 0 && g[n-1].d == d {
			g[n-1].rest = append(g[n-1].rest, r)
			continue
		}
		g = append(g, member{d, []rest{r}})
	}
	e.groups = append(e.groups, g)
	return uint16(len(e.groups) - 1)
}

// Info describes a built-in detector.
type Info struct {
	Name    string
	Version int
}

// All in place of names means every detector, pattern, literal and field.
const All = "*"

// Names lists what e masks by, in the order in which it is asked: patterns and other words of the operator, and
// detectors. They are what [StreamOptions] takes and a [Hit] says.
func (e *Engine) Names() []string { return namesOf(e.detectors) }

// Detectors lists the built-in detectors in the order in which they are asked.
func Detectors() []Info {
	var out []Info
	for _, d := range builtin() {
		if !slices.ContainsFunc(out, func(i Info) bool { return i.Name == d.name }) {
			out = append(out, Info{d.name, d.version})
		}
	}
	return out
}
