package cast

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// The beginnings of the two kinds of chain line, and what surrounds the signature at their end.
const (
	checkPrefix = `#sp {"k":"check",`
	sealPrefix  = `#sp {"k":"seal",`
	sigMiddle   = `,"sig":"`
	sigEnd      = `"}` + "\n"
	sigLen      = 86 // base64 of 64 bytes, unpadded
	sigTail     = len(sigMiddle) + sigLen + len(sigEnd)
)

// signContext keeps a signature of a chain line from being taken for one of anything else.
const signContext = "sallyport-cast-v1\n"

// link is a chain line: a checkpoint or the seal. The order of the fields is the order on the line.
type link struct {
	K        string    `json:"k"`
	V        int       `json:"v"`
	Session  string    `json:"session"`
	Seq      uint64    `json:"seq"`
	Off      int64     `json:"off"`              // offset of this line's first byte
	T        int64     `json:"t_us"`             // microseconds from the start
	Time     string    `json:"time"`             // RFC 3339, UTC
	Sum      string    `json:"sum"`              // SHA-256 of the bytes since the last chain line
	Prev     string    `json:"prev"`             // SHA-256 of the last chain line; zeros for the first
	Masked   uint64    `json:"masked,omitempty"` // values masked so far
	Recovery bool      `json:"recovery,omitempty"`
	Chain    [][]byte  `json:"chain,omitempty"` // DER, leaf first; where a key is used first
	Seal     *sealBody `json:"seal,omitempty"`
}

type sealBody struct {
	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"`
	Status *int   `json:"status,omitempty"`
	Signal string `json:"signal,omitempty"`
	Counts
}

// chain is the running state of the hash chain, the same for writing and for checking.
type chain struct {
	session string
	seq     uint64 // of the next chain line
	prev    [sha256.Size]byte
}

func isLink(line []byte) bool {
	return hasPrefix(line, checkPrefix) || hasPrefix(line, sealPrefix)
}

// IsSeal tells whether a line is the beginning of a seal. It checks nothing else.
func IsSeal(line []byte) bool { return hasPrefix(line, sealPrefix) }

func hasPrefix(b []byte, p string) bool { return len(b) >= len(p) && string(b[:len(p)]) == p }

// sign makes the line of l and advances the chain.
func (c *chain) sign(l link, key ed25519.PrivateKey, sum [sha256.Size]byte) ([]byte, error) {
	l.V, l.Session, l.Seq = 1, c.session, c.seq
	l.Sum, l.Prev = hex.EncodeToString(sum[:]), hex.EncodeToString(c.prev[:])
	body, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encode checkpoint: %w", err)
	}
	line := make([]byte, 0, 4+len(body)+sigTail)
	line = append(line, "#sp "...)
	line = appendSafeJSON(line, body[:len(body)-1])
	sig := ed25519.Sign(key, signed(line))
	line = append(line, sigMiddle...)
	line = appendBase64(line, sig)
	line = append(line, sigEnd...)
	c.seq++
	c.prev = sha256.Sum256(line)
	return line, nil
}

// signed is the message that a signature of a chain line is of.
func signed(body []byte) []byte {
	return append([]byte(signContext), body...)
}

// parseLink takes a chain line apart. It checks the form and nothing else.
func parseLink(line []byte) (l link, body, sig []byte, err error) {
	if len(line) < len(sealPrefix)+sigTail {
		return l, nil, nil, fmt.Errorf("is too short for a checkpoint")
	}
	cut := len(line) - sigTail
	body, tail := line[:cut], line[cut:]
	text := tail[len(sigMiddle) : len(sigMiddle)+sigLen]
	if !hasPrefix(tail, sigMiddle) || string(tail[len(tail)-len(sigEnd):]) != sigEnd {
		return l, nil, nil, fmt.Errorf("does not end in a signature")
	}
	sig, err = base64.RawStdEncoding.Strict().DecodeString(string(text))
	if err != nil || len(sig) != ed25519.SignatureSize {
		return l, nil, nil, fmt.Errorf("has a signature that is no base64 of 64 bytes")
	}
	if err := checkDepth(body[4:], maxDepth); err != nil {
		return l, nil, nil, err
	}
	if err := json.Unmarshal(append(body[4:len(body):len(body)], '}'), &l); err != nil {
		return l, nil, nil, fmt.Errorf("holds no checkpoint: %w", err)
	}
	if l.V != 1 {
		return l, nil, nil, fmt.Errorf("is a checkpoint of version %d, known is 1", l.V)
	}
	return l, body, sig, nil
}

// LeafFor checks that chain (DER, leaf first) certifies a recording key of a session under one of roots at
// the time given, and returns that key.
func LeafFor(chain [][]byte, roots *x509.CertPool, session string, at time.Time) (ed25519.PublicKey, error) {
	if len(chain) == 0 || len(chain) > 8 {
		return nil, fmt.Errorf("certificate chain has %d certificates", len(chain))
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, fmt.Errorf("recorder certificate: %w", err)
	}
	key, ok := leaf.PublicKey.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("recorder certificate holds a %T, not Ed25519", leaf.PublicKey)
	}
	if err := names(leaf, session); err != nil {
		return nil, err
	}
	if roots == nil {
		return key, nil
	}
	between := x509.NewCertPool()
	for _, der := range chain[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate above the recorder's: %w", err)
		}
		between.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, fmt.Errorf("recorder certificate: %w", err)
	}
	return key, nil
}

// recorderUsage is id-kp-documentSigning (RFC 9336), the one thing a recorder's certificate is good for.
var recorderUsage = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 36}

// names checks that the certificate is for recording this session: it is for signing documents, can sign no
// certificate, and its one URI is sallyport:session:<id>.
func names(leaf *x509.Certificate, session string) error {
	if leaf.IsCA || !slices.ContainsFunc(leaf.UnknownExtKeyUsage, recorderUsage.Equal) {
		return fmt.Errorf("recorder certificate is not for recordings")
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "sallyport:session:"+session {
		return fmt.Errorf("recorder certificate is not for session %q", session)
	}
	return nil
}

// sealed is the seal that a parsed line is.
func (l link) sealed(line []byte) Seal {
	hash := sha256.Sum256(line)
	at, _ := time.Parse(time.RFC3339Nano, l.Time)
	return Seal{
		Session: l.Session, State: l.Seal.State, Reason: l.Seal.Reason, Status: l.Seal.Status,
		Signal: l.Seal.Signal, Counts: l.Seal.Counts, Size: l.Off + int64(len(line)),
		Checkpoints: l.Seq + 1, Duration: l.T, Time: at, Hash: hex.EncodeToString(hash[:]),
	}
}
