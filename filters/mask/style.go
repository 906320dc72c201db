package mask

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
)

// Style is how a value is replaced.
type Style uint8

const (
	// Stars puts a star for every column of the value and leaves its separators, so that tables, prompts
	// and full-screen programs keep their layout. A card keeps its first six digits.
	Stars Style = iota + 1
	// Last4 is Stars with the last four characters of numbers and long tokens left.
	Last4
	// Token puts the detector's name and a keyed hash, equal for equal values: "card:7f3a9c01d2e4".
	Token
)

var styleNames = map[Style]string{Stars: "stars", Last4: "last4", Token: "token"}

func (s Style) String() string { return styleNames[s] }

// ErrStyle is in what [ParseStyle] says of other words.
var ErrStyle = errors.New("not a style: write stars, last4 or token")

// ParseStyle reads "stars", "last4" or "token".
func ParseStyle(name string) (Style, error) {
	for s, n := range styleNames {
		if n == name {
			return s, nil
		}
	}
	return 0, fmt.Errorf("%q is %w", name, ErrStyle)
}

// MarshalText is [Style.String].
func (s Style) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is [ParseStyle]; empty is the default.
func (s *Style) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*s = 0
		return nil
	}
	*s, err = ParseStyle(string(b))
	return err
}

// tokenDigits is the length of a token's hash: 48 bits, so that ten million different values give
// less than one chance in five of a false join.
const tokenDigits = 12

// A hasher makes tokens. It holds only the key; streams make their own state.
type hasher struct{ key []byte }

func newHasher(key []byte) *hasher { return &hasher{append([]byte(nil), key...)} }

func (h *hasher) start(detector string) hash.Hash {
	m := hmac.New(sha256.New, h.key)
	m.Write([]byte(detector))
	m.Write([]byte{0})
	return m
}

// appendToken finishes m and appends detector:hex.
func appendToken(dst []byte, detector string, m hash.Hash) []byte {
	sum := m.Sum(nil)
	dst = append(dst, detector...)
	dst = append(dst, ':')
	return hex.AppendEncode(dst, sum[:tokenDigits/2])
}
