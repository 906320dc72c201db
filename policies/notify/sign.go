package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The headers of a generic webhook.
const (
	// SignatureHeader is "t=SECONDS,v1=HEX": the time of sending, and the HMAC-SHA256 by the shared secret of the time,
	// a dot and the body.
	SignatureHeader = "Sallyport-Signature"
	// DeliveryHeader is the same when an event is sent again: a receiver that has seen it has nothing to do.
	DeliveryHeader = "Sallyport-Delivery"
)

// ErrSignature says that a message is not from who knows the secret, or not from now.
var ErrSignature = errors.New("the signature does not hold")

// Sign returns the value of SignatureHeader.
func Sign(secret []byte, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	return "t=" + t + ",v1=" + hex.EncodeToString(sum(secret, t, body))
}

func sum(secret []byte, t string, body []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(t))
	mac.Write([]byte("."))
	mac.Write(body)
	return mac.Sum(nil)
}

// Verify is for receivers: nil if header signs body with secret, at a time that is no further from now than tolerance.
// Keep the DeliveryHeader of what came within the tolerance, to know what was sent again.
func Verify(secret []byte, header string, body []byte, now time.Time, tolerance time.Duration) error {
	t, mac, found := strings.Cut(header, ",")
	t, isTime := strings.CutPrefix(t, "t=")
	mac, isMAC := strings.CutPrefix(mac, "v1=")
	seconds, err := strconv.ParseInt(t, 10, 64)
	given, hexErr := hex.DecodeString(mac)
	if !found || !isTime || !isMAC || err != nil || hexErr != nil || strconv.FormatInt(seconds, 10) != t {
		return fmt.Errorf("%w: it is malformed", ErrSignature)
	}
	if len(secret) == 0 || !hmac.Equal(given, sum(secret, t, body)) {
		return ErrSignature
	}
	if d := now.Sub(time.Unix(seconds, 0)).Abs(); d > tolerance {
		return fmt.Errorf("%w: it is %s off", ErrSignature, d.Round(time.Second))
	}
	return nil
}
