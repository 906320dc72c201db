package mask

import (
	"cmp"
	_ "embed" // typical.txt
	"math/bits"
	"slices"
	"sync"
)

const (
	probeBlock   = 64  // bytes that are looked at together
	probeBuckets = 24  // in which the anchors are sorted
	probeTop     = 127 // stands for itself and all bytes above
	probeAfter   = 16  // bytes that have to follow a block: mayBeNumber looks so far
)

// A probe finds quickly where no anchor can be, 64 bytes at a time; some of what it lets through are none. It is used where
// the processor can look 64 bytes up in a table of 128 at once.
//
// Numbers are told by their digits, see [numbers]. All other anchors are sorted into buckets: bit j%8 of
// buckets[j/8][k][c] is set if byte k of an anchor in bucket j can be c; where all four bytes have the bit, one of the
// bucket's anchors may be.
type probe struct {
	buckets [probeBuckets / 8][4][probeTop + 1]uint8
	kinds   [probeTop + 1]uint8 // of bytes, for numbers
}

// Kinds of bytes around numbers, from the highest bit down as probeVBMI takes them off.
const (
	kindDigit = 0x80 >> iota
	kindSep   // numberSep
	kindZero  // the digit
	kindWord  // of a word that no number follows: not the letters of \n, \r and \t
	kindDot
	kindJoin // "-. /"
	kindHigh // beyond ASCII: a blank may be among them
)

// blockMarks are what the probe sees in a block: where an anchor of a bucket may be, and where the kinds of bytes are.
type blockMarks struct {
	found, digits, seps, zeros, words, dots, joins, high uint64
}

// marks are where in a window anchors may be, as the probe sees it.
type marks struct {
	from, to int      // what was looked at: whole blocks
	bits     []uint64 // of its bytes
}

// look marks b from byte from on, as far as whole blocks go.
func (m *marks) look(p *probe, b []byte, from int) {
	const batch = 16
	n := max(0, len(b)-from-probeAfter) / probeBlock
	m.from, m.to, m.bits = from, from+n*probeBlock, m.bits[:0]
	if n == 0 {
		return
	}
	var seen [batch + 2]blockMarks // the one before, a batch, the one after
	for at := 0; at < n; at += batch {
		k := min(batch+1, n-at)
		p.see(b[from+at*probeBlock:], seen[1:1+k])
		if k <= batch {
			seen[k+1] = unseen
		}
		for i := range min(k, batch) {
			m.bits = append(m.bits, seen[i+1].found|numbers(&seen[i], &seen[i+1], &seen[i+2]))
		}
		seen[0] = seen[batch]
	}
}

// unseen are marks of bytes that are not known: what makes a number.
var unseen = blockMarks{digits: ^uint64(0), seps: ^uint64(0), zeros: ^uint64(0), high: ^uint64(0)}

// A run are the bits of a block and the next.
type run struct{ lo, hi uint64 }

// down is r with what is k bytes on: bit i is bit i+k. All that is beyond is set.
func (r run) down(k int) run {
	return run{r.lo>>k | r.hi<<(64-k), r.hi>>k | ^uint64(0)<<(64-k)}
}

func (r run) and(o run) run { return run{r.lo & o.lo, r.hi & o.hi} }

func (r run) or(o run) run { return run{r.lo | o.lo, r.hi | o.hi} }

// numbers marks the bytes of block a before numbers that mayBeNumber would take but for their first digits. Before it is
// block p, after it n.
func numbers(p, a, n *blockMarks) uint64 {
	d := run{a.digits, n.digits}
	d2 := d.and(d.down(1))
	d4 := d2.and(d2.down(2))
	d6 := d4.and(d2.down(4))
	sep := run{a.seps, n.seps}.and(d.down(1)) // and a digit
	glue := sep.or(run{a.high, n.high})
	long := d6.and(d6.down(6))
	grouped := d2.and(d.down(2)).and(sep.down(3)).or(d4.and(glue.down(4))).or(d6.and(glue.down(6)))
	trunk := run{a.zeros, n.zeros}.and(d4.or(trunkZero(p, a, n, d2.and(sep.down(2)).and(d.down(4)))))
	ok := long.or(grouped).or(trunk)
	first := func(p, a *blockMarks) uint64 { // digits that begin a number
		decimals := (a.dots<<1 | p.dots>>63) & (a.digits<<2 | p.digits>>62)
		return a.digits &^ (a.digits<<1 | p.digits>>63) &^ (a.words<<1 | p.words>>63) &^ decimals
	}
	return ok.lo&first(p, a)>>1 | ok.hi&first(a, n)<<63
}

// trunkZero is r without what goes on after digits, as the month of a date.
func trunkZero(p, a, n *blockMarks, r run) run {
	on := func(p, a *blockMarks) uint64 {
		return (a.joins<<1 | p.joins>>63) & (a.digits<<2 | p.digits>>62) & (a.digits<<3 | p.digits>>61)
	}
	return run{r.lo &^ on(p, a), r.hi &^ on(a, n)}
}

// newProbe makes the probe of the built-in detectors and of own.
func newProbe(own []*detector) *probe {
	s := *builtinSorter()
	s.sort(own)
	p := new(probe)
	for j, b := range s {
		for k, set := range b.set {
			for c, may := range set {
				if may {
					p.buckets[j/8][k][c] |= 1 << (j % 8)
				}
			}
		}
	}
	for c := range byte(probeTop) {
		p.kinds[c] = kindOf(c)
	}
	p.kinds[probeTop] = kindHigh
	return p
}

func kindOf(c byte) (k uint8) {
	if is(c, clDigit) {
		k |= kindDigit
	} else if isWord(c) && c != 'n' && c != 'r' && c != 't' {
		k |= kindWord
	}
	for _, t := range []struct {
		kind uint8
		set  *[256]bool
	}{{kindSep, numberSep}, {kindZero, bytesOf("0")}, {kindDot, bytesOf(".")}, {kindJoin, bytesOf("-. /")}} {
		if t.set[c] {
			k |= t.kind
		}
	}
	return k
}

// typical is text of the kinds that people look at.
//
//go:embed typical.txt
var typical string

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// A bucket is what the four bytes of its anchors can be: as sets; as places in the typical text where they are, a bit for
// each; and as parts of the alphabet of base64, of which no text is typical.
type bucket struct {
	set    [4][probeTop + 1]bool
	places [4][]uint64
	base64 [4]uint64
	chance float64
}

func bucketOf(a anchor) (b bucket) {
	for k, set := range a.at {
		for c, may := range set {
			b.set[k][min(c, probeTop)] = may || b.set[k][min(c, probeTop)]
		}
	}
	b.measure()
	return b
}

// measure makes the rest from the sets.
func (b *bucket) measure() {
	for k := range b.set {
		b.places[k] = make([]uint64, len(typical)/64+1)
		for i := range len(typical) - k {
			if b.set[k][typical[i+k]] {
				b.places[k][i/64] |= 1 << (i % 64)
			}
		}
		b.base64[k] = 0
		for i := range len(alphabet) {
			if b.set[k][alphabet[i]] {
				b.base64[k] |= 1 << i
			}
		}
	}
	b.chance = b.with(b)
}

// with is how often four bytes are in b or o, if they were one bucket.
func (b *bucket) with(o *bucket) float64 {
	if b.places[0] == nil {
		return o.chance
	}
	n := 0
	for i := range b.places[0] {
		w := ^uint64(0)
		for k := range b.places {
			w &= b.places[k][i] | o.places[k][i]
		}
		n += bits.OnesCount64(w)
	}
	all := 1.0
	for k := range b.base64 {
		all *= float64(bits.OnesCount64(b.base64[k]|o.base64[k])) / 64
	}
	return float64(n)/float64(len(typical)) + all
}

// A sorter puts anchors where they let the least through that is none.
type sorter [probeBuckets]bucket

// builtinSorter has sorted the built-in detectors' anchors, which takes milliseconds.
var builtinSorter = sync.OnceValue(func() *sorter {
	s := new(sorter)
	s.sort(builtin())
	return s
})

// sort sorts the anchors of ds, the most common first.
func (s *sorter) sort(ds []*detector) {
	var all []bucket
	for _, d := range ds {
		for _, a := range d.anchors {
			if a.lane != laneNumber {
				all = append(all, bucketOf(a))
			}
		}
	}
	slices.SortStableFunc(all, func(a, b bucket) int { return cmp.Compare(b.chance, a.chance) })
	for i := range all {
		best, least := 0, 0.0
		for j := range s {
			more := s[j].with(&all[i]) - s[j].chance
			if j == 0 || more < least {
				best, least = j, more
			}
		}
		s[best].add(&all[i])
	}
}

func (b *bucket) add(o *bucket) {
	for k := range b.set {
		for c := range b.set[k] {
			b.set[k][c] = b.set[k][c] || o.set[k][c]
		}
	}
	b.measure()
}
