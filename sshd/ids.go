package sshd

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"time"
)

// base32 in Crockford's alphabet: no letter that is read for another when an id is spoken or typed.
var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewSessionID returns 20 characters that sort by time: 40 bits of it in units of 16 ms, then 60 random.
func NewSessionID() string {
	var b [13]byte
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixMilli()>>4)<<24)
	_, _ = rand.Read(b[5:]) // never fails, by its documentation
	return idEncoding.EncodeToString(b[:])[:20]
}

// NewHoldID returns 8 characters, 40 random bits: short enough to type, and holds are few and brief.
func NewHoldID() string {
	var b [5]byte
	_, _ = rand.Read(b[:])
	return idEncoding.EncodeToString(b[:])
}
