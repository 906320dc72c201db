package mask

import (
	"encoding/binary"
	"math/bits"
)

// An anchor is four adjacent bytes at which a detector is asked, a set for each.
type anchor struct {
	lane uint8
	at   [4]*[256]bool
}

// pairs calls f for every pair of bytes in sets k and k+1, first byte low.
func (a anchor) pairs(k int, f func(pair int)) {
	for x := range 256 {
		if !a.at[k][x] {
			continue
		}
		for y := range 256 {
			if a.at[k+1][y] {
				f(x | y<<8)
			}
		}
	}
}

// Next returns the first place at or after i at which a detector would be asked, or len(b) if there is none. B holds
// values that are to be looked at each by itself, with a newline before the first and behind each. A place is in the
// value that it stands in, or is the newline before it. Where nothing is found in a value, [Stream] would not change
// it alone, unless it has escape sequences, which Next knows nothing of.
func (e *Engine) Next(b []byte, i int) int {
	if i = e.plainNext(b, i); i+1 >= len(b) {
		return len(b)
	}
	return i
}

// next returns the first place at or after i where an anchor may be, or len(b)-1 if there is none. Where m has marks it only
// looks at those.
func (e *Engine) next(b []byte, i int, m *marks) int {
	for i >= m.from && i < m.to {
		k := i - m.from
		w := m.bits[k/probeBlock] >> (k % probeBlock)
		if w == 0 {
			i += probeBlock - k%probeBlock
			continue
		}
		i += bits.TrailingZeros64(w)
		if lanes := e.lanes(b, i); lanes != 0 && worth(b, i, lanes) {
			return i
		}
		i++
	}
	return e.plainNext(b, i)
}

// lanes are those of which an anchor may be at b[i].
func (e *Engine) lanes(b []byte, i int) uint8 {
	lanes := e.filter[binary.LittleEndian.Uint16(b[i:])]
	if i+4 <= len(b) {
		lanes &= e.filter[binary.LittleEndian.Uint16(b[i+2:])] >> 8
	}
	return uint8(lanes)
}

// plainNext is next by the filter alone.
//
// The filter has for every pair of bytes eight lanes low, set where the pair can be the first two bytes of
// an anchor, and eight lanes high, set where it can be the last two. An anchor may be where the low lanes of
// one pair meet the high lanes of the pair two bytes on. Where the bytes end before an anchor does, its first
// pair is enough.
func (e *Engine) plainNext(b []byte, i int) int {
	t := &e.filter
	for i+12 <= len(b) {
		x := four(t, b[i:i+8])
		for i+12 <= len(b) {
			y := four(t, b[i+4:i+12])
			if at := x & (x>>40 | y<<24) & 0x00ff00ff00ff00ff; at != 0 {
				for at != 0 {
					k := bits.TrailingZeros64(at) / 16
					if worth(b, i+k, uint8(at>>(16*k))) {
						return i + k
					}
					at &^= 0xff << (16 * k)
				}
			}
			x = y
			i += 4
		}
	}
	for ; i+3 < len(b); i++ {
		if lanes := e.lanes(b, i); lanes != 0 && worth(b, i, lanes) {
			return i
		}
	}
	for ; i+1 < len(b); i++ {
		if t[binary.LittleEndian.Uint16(b[i:])]&0xff != 0 {
			return i
		}
	}
	return max(i, len(b)-1)
}

// four are the filter's entries for the four pairs that start at b[0] to b[3], of eight bytes.
func four(t *[1 << 16]uint16, b []byte) uint64 {
	x := binary.LittleEndian.Uint64(b)
	return uint64(t[uint16(x)]) | uint64(t[uint16(x>>8)])<<16 | uint64(t[uint16(x>>16)])<<32 | uint64(t[uint16(x>>24)])<<48
}

// worth takes a quick look at what the lanes found at b[i]. It only turns away what no detector of theirs would take.
func worth(b []byte, i int, lanes uint8) bool {
	const quick = 1<<laneNumber | 1<<laneIBAN | 1<<laneAssign
	return lanes&^quick != 0 ||
		lanes&(1<<laneNumber) != 0 && mayBeNumber(b, i+1) ||
		lanes&(1<<laneIBAN) != 0 && mayBeIBAN(b, i) ||
		lanes&(1<<laneAssign) != 0 && mayBeKey(b, i)
}

// mayBeNumber looks at the three digits at b[s], or at a trunk zero, a digit and a separator: what stands before and after
// them, how many they are and the first four. [numbers] has the same rules.
func mayBeNumber(b []byte, s int) bool {
	if s+cardMin+1 >= len(b) {
		return true
	}
	if isWord(b[s-1]) && !escapedBefore(b, s) {
		return false
	}
	if b[s-1] == '.' && s > 1 && is(b[s-2], clDigit) { // decimals, addresses, versions
		return false
	}
	if !is(b[s+2], clDigit) {
		return b[s] == '0' && numberSep[b[s+2]] && is(b[s+3], clDigit) && is(b[s+4], clDigit) && !afterPhoneDigit(b, s-1)
	}
	c := b[s+3]
	if !is(c, clDigit) {
		return numberSep[c] && is(b[s+4], clDigit)
	}
	v := int(b[s])*1000 + int(b[s+1])*100 + int(b[s+2])*10 + int(c) - 1111*'0'
	if numberStarts[v>>3]&(1<<(v&7)) == 0 {
		return false
	}
	if b[s] == '0' {
		return true
	}
	n := 4
	for n < cardMin && is(b[s+n], clDigit) {
		n++
	}
	return n == cardMin || (n == 4 || n == cardPublic) && (b[s+n] >= 0x80 || numberSep[b[s+n]] && is(b[s+n+1], clDigit))
}

// mayBeIBAN looks whether the country at b[i] is a word's.
func mayBeIBAN(b []byte, i int) bool { return i == 0 || !inWord(b, i) }

// mayBeKey looks whether a keyword of an assignment starts at b[i].
func mayBeKey(b []byte, i int) bool {
	x := binary.LittleEndian.Uint32(b[i:]) | 0x20202020
	h := keyHash(x)
	return keyBits[h>>3]&(1<<(h&7)) != 0
}

func keyHash(x uint32) uint32 { return x * 2654435761 >> 20 }

// keyBits has a bit for the hash of every keyword, of four bytes in lower case.
var keyBits = func() (t [1 << 12 / 8]uint8) {
	set := func(k string) {
		h := keyHash(uint32(k[0]) | uint32(k[1])<<8 | uint32(k[2])<<16 | uint32(k[3])<<24 | 0x20202020)
		t[h>>3] |= 1 << (h & 7)
	}
	for _, k := range assignKeys {
		if len(k) == 4 {
			set(k)
			continue
		}
		for c := range 256 {
			if afterKey[c] {
				set(k + string([]byte{byte(c)}))
			}
		}
	}
	return t
}()

var numberSep = bytesOf("-. /)")

// numberStarts has a bit for every four digits that a card or a national phone number can start with.
var numberStarts = func() (t [10000 / 8]uint8) {
	for v, l := range cardIndex {
		if l != 0 || v >= 10 && v < 1000 { // a trunk zero, or two and a country
			t[v>>3] |= 1 << (v & 7)
		}
	}
	return t
}()
