package certs

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// claims is the body of a token. A map and not a struct, because encoding/json would let "ISS" stand
// for "iss".
type claims map[string]any

// lookup follows a path of names with dots between. It gives the object that holds the last name as
// well, for the flags that stand beside a claim.
func (c claims) lookup(path string) (value any, holder claims) {
	if v, ok := c[path]; ok {
		return v, c
	}
	first, rest, ok := strings.Cut(path, ".")
	if !ok {
		return nil, nil
	}
	inner, ok := c[first].(map[string]any)
	if !ok {
		return nil, nil
	}
	return claims(inner).lookup(rest)
}

// text gives a string claim; "" if it is missing. Any other type is an error: it was not meant for us.
func (c claims) text(path string) (string, error) {
	v, _ := c.lookup(path)
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	}
	return "", refuse(ErrClaims, "", "claim %s is not a string", path)
}

// texts gives a claim that is a list of strings, or one string.
func (c claims) texts(path string) ([]string, error) {
	v, _ := c.lookup(path)
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		out := make([]string, len(v))
		for i, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, refuse(ErrClaims, "", "claim %s holds something that is not a string", path)
			}
			out[i] = s
		}
		return out, nil
	}
	return nil, refuse(ErrClaims, "", "claim %s is not a list of strings", path)
}

// date gives a NumericDate (RFC 7519 section 2); the zero time if it is missing.
func (c claims) date(name string) (time.Time, error) {
	v, ok := c[name]
	if !ok {
		return time.Time{}, nil
	}
	n, _ := v.(json.Number)
	f, err := n.Float64()
	if err != nil || f < 1 || f > 1<<40 {
		return time.Time{}, refuse(ErrClaims, "", "claim %s is not a date", name)
	}
	return time.Unix(int64(f), 0), nil
}

// token checks for whom and when the token is valid.
func (c IssuerConfig) token(cl claims, now time.Time) (*Token, error) {
	t := &Token{Issuer: c.URL}
	var err error
	if t.Audience, err = cl.texts("aud"); err != nil {
		return nil, err
	}
	if err := c.checkAudience(t.Audience); err != nil {
		return nil, err
	}
	if err := c.checkTimes(t, cl, now); err != nil {
		return nil, err
	}
	if t.Subject, err = cl.text("sub"); err != nil {
		return nil, err
	}
	if t.ID, err = cl.text("jti"); err != nil {
		return nil, err
	}
	t.Nonce, err = cl.text("nonce")
	return t, err
}

func (c IssuerConfig) checkAudience(aud []string) error {
	hint := "ask for a token with audience " + strings.Join(c.Audiences, " or ")
	if !slices.ContainsFunc(aud, func(a string) bool { return slices.Contains(c.Audiences, a) }) {
		return refuse(ErrAudience, hint, "the token is for another audience than this gate")
	}
	for _, a := range aud {
		if !slices.Contains(c.Audiences, a) && !slices.Contains(c.OtherAudiences, a) {
			return refuse(ErrAudience, hint+" alone", "the token is for other audiences as well as this gate")
		}
	}
	return nil
}

func (c IssuerConfig) checkTimes(t *Token, cl claims, now time.Time) (err error) {
	if t.Expiry, err = cl.date("exp"); err != nil {
		return err
	}
	if t.IssuedAt, err = cl.date("iat"); err != nil {
		return err
	}
	nbf, err := cl.date("nbf")
	if err != nil {
		return err
	}
	const clock = "sign in again; if it persists compare the clocks of the issuer and the gate"
	switch {
	case t.Expiry.IsZero() || t.IssuedAt.IsZero():
		return refuse(ErrClaims, "", "the token does not say when it was issued and when it expires")
	case now.After(t.Expiry.Add(c.Skew)):
		return refuse(ErrExpired, "sign in again", "the token expired %v ago", now.Sub(t.Expiry).Round(time.Second))
	case nbf.After(now.Add(c.Skew)), t.IssuedAt.After(now.Add(c.Skew)):
		return refuse(ErrNotYetValid, clock, "the token is not valid yet")
	case now.After(t.IssuedAt.Add(c.MaxAge + c.Skew)):
		return refuse(ErrTooOld, "sign in again", "the token was issued %v ago; at most %v is allowed",
			now.Sub(t.IssuedAt).Round(time.Second), c.MaxAge)
	}
	return nil
}

// identity reads who the token is about. With act (RFC 8693 section 4.1), the token's subject is the
// principal and act names the agent that acts for it. Actors within act are history, which that
// section says decides nothing.
func (c IssuerConfig) identity(cl claims) (Identity, error) {
	id, err := c.party(cl)
	if err != nil {
		return Identity{}, err
	}
	act, ok := cl["act"]
	if ok {
		id, err = c.actor(act, id)
	} else {
		id.OnBehalfOf, err = c.onBehalfOf(cl)
	}
	if err != nil {
		return Identity{}, err
	}
	if err := id.Validate(); err != nil {
		return Identity{}, &TokenError{Reason: ErrClaims, Message: "the token's identity is refused: " + err.Error()}
	}
	if c.RequireEmail && id.Email == "" && (id.OnBehalfOf == nil || id.OnBehalfOf.Email == "") {
		return Identity{}, refuse(ErrEmailNotVerified, "verify the address with the issuer, and ask for the scope email",
			"the token has no e-mail address with email_verified: true")
	}
	return id, nil
}

// party reads one identity: the token's own, an actor, or a principal.
func (c IssuerConfig) party(cl claims) (Identity, error) {
	id := Identity{Issuer: c.URL}
	var err error
	if id.Subject, err = cl.text("sub"); err != nil {
		return Identity{}, err
	}
	if id.Email, err = c.email(cl); err != nil {
		return Identity{}, err
	}
	if id.Groups, err = cl.texts(c.Claims.Groups); err != nil {
		return Identity{}, err
	}
	if id.Name, err = c.name(cl, id); err != nil {
		return Identity{}, err
	}
	if id.Kind, err = c.kind(cl); err != nil {
		return Identity{}, err
	}
	return id, nil
}

// email gives the address if the issuer verified it. The flag must be the boolean: "true" in quotes
// is what some issuers send for an address that the user just typed in.
func (c IssuerConfig) email(cl claims) (string, error) {
	v, holder := cl.lookup(c.Claims.Email)
	if v == nil {
		return "", nil
	}
	s, ok := v.(string)
	if !ok {
		return "", refuse(ErrClaims, "", "claim %s is not a string", c.Claims.Email)
	}
	if verified, ok := holder["email_verified"].(bool); !ok || !verified {
		return "", nil
	}
	return s, nil
}

func (c IssuerConfig) name(cl claims, id Identity) (string, error) {
	paths := []string{"preferred_username", "name"}
	if c.Claims.Name != "" {
		paths = []string{c.Claims.Name}
	}
	for _, p := range paths {
		s, err := cl.text(p)
		if err != nil {
			return "", err
		}
		if s = cleanName(s); s != "" {
			return s, nil
		}
	}
	if s := cleanName(id.Email); s != "" {
		return s, nil
	}
	return cleanName(id.Subject), nil
}

func (c IssuerConfig) kind(cl claims) (string, error) {
	if c.Claims.Kind == "" {
		return c.Kind, nil
	}
	k, err := cl.text(c.Claims.Kind)
	if err != nil {
		return "", err
	}
	if k == "" {
		k = c.Kind
	}
	if k != Human && k != Agent {
		return "", refuse(ErrClaims, "", "claim %s is neither human nor agent", c.Claims.Kind)
	}
	return k, nil
}

// actor turns the claim act into the identity that acts for principal. The actor's issuer is the
// token's: one that could name another would speak for it.
func (c IssuerConfig) actor(act any, principal Identity) (Identity, error) {
	m, ok := act.(map[string]any)
	if !ok {
		return Identity{}, refuse(ErrClaims, "", "claim act is not an object")
	}
	if err := c.sameIssuer("act", m); err != nil {
		return Identity{}, err
	}
	c.Kind, c.Claims.Kind = Agent, ""
	id, err := c.party(m)
	if err != nil {
		return Identity{}, err
	}
	id.OnBehalfOf = &principal
	return id, nil
}

func (c IssuerConfig) onBehalfOf(cl claims) (*Identity, error) {
	v, _ := cl.lookup(c.Claims.OnBehalfOf)
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return &Identity{Issuer: c.URL, Subject: v, Name: cleanName(v), Kind: Human}, nil
	case map[string]any:
		if err := c.sameIssuer(c.Claims.OnBehalfOf, v); err != nil {
			return nil, err
		}
		c.Kind = Human // what a principal is that does not say; the issuer's Kind is the agent's
		p, err := c.party(v)
		return &p, err
	}
	return nil, refuse(ErrClaims, "", "claim %s is neither a subject nor an object", c.Claims.OnBehalfOf)
}

func (c IssuerConfig) sameIssuer(claim string, m map[string]any) error {
	if iss, ok := m["iss"]; ok && iss != any(c.URL) {
		return refuse(ErrClaims, "", "claim %s names somebody of another issuer", claim)
	}
	return nil
}
