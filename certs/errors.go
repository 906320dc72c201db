package certs

import "fmt"

// A Reason is why something was refused, in one stable word that scripts can compare. It is an
// error, so that errors.Is(err, certs.ErrExpired) works on everything this package returns.
type Reason string

func (r Reason) Error() string { return string(r) }

// Reasons why a token is refused.
const (
	ErrMalformed        Reason = "token_malformed"     // not a signed JWT in compact form
	ErrTooLarge         Reason = "token_too_large"     // more than 16 KiB
	ErrIssuer           Reason = "wrong_issuer"        // iss is none of the configured issuers
	ErrAudience         Reason = "wrong_audience"      // aud is not for this gate, or for others as well
	ErrAlgorithm        Reason = "wrong_algorithm"     // alg is not allowed for the issuer
	ErrSignature        Reason = "bad_signature"       // no key of the issuer made the signature
	ErrExpired          Reason = "token_expired"       // exp has passed
	ErrNotYetValid      Reason = "token_not_yet_valid" // nbf or iat lies in the future
	ErrTooOld           Reason = "token_too_old"       // iat is longer ago than the issuer's max_age
	ErrEmailNotVerified Reason = "email_not_verified"  // an e-mail is required, and email_verified is not true
	ErrClaims           Reason = "token_claims"        // a claim is missing, of the wrong type or out of bounds
	ErrUnreachable      Reason = "issuer_unreachable"  // discovery or keys cannot be fetched at the moment
	ErrProof            Reason = "bad_proof"           // the proof of possession does not hold
	ErrPublicKey        Reason = "bad_public_key"      // not a key that certificates are given for
	ErrRequest          Reason = "bad_request"         // the request itself cannot be understood
	ErrRate             Reason = "too_many_requests"   // slow down
	ErrInternal         Reason = "internal_error"      // the gate's own fault; its log knows more
	ErrMethod           Reason = "method_not_allowed"  // wrong HTTP method
	ErrContentType      Reason = "unsupported_media"   // the body is not application/json
	ErrNotFound         Reason = "not_found"           // no such path
)

// A TokenError is a refusal. Message and Hint hold nothing of the token that was not both proved and
// harmless, so they may be shown to whoever sent it; Err is for the operator's log.
type TokenError struct {
	Reason  Reason
	Issuer  string // the configured issuer, once it is known
	Message string
	Hint    string // what to do about it, or ""
	Err     error
}

func (e *TokenError) Error() string {
	s := e.Message
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Unwrap makes errors.Is see the reason and the cause.
func (e *TokenError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Reason}
	}
	return []error{e.Reason, e.Err}
}

func refuse(r Reason, hint, format string, args ...any) *TokenError {
	return &TokenError{Reason: r, Message: fmt.Sprintf(format, args...), Hint: hint}
}
