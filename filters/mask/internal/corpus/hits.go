package corpus

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// The operator's own words in [Hits].
const (
	Literal = "Project Falcon"
	Pattern = `\bEMP-\d{6}\b`
	Field   = "address"
)

// Hits makes texts with one secret a line, one for every kind of detector. Those called literal, pattern and field are
// found by the operator's words.
func Hits() []Text {
	var out []Text
	for _, k := range []struct {
		name string
		line func(r *rand.Rand) string
	}{
		{"card", func(r *rand.Rand) string {
			return logged(r, fmt.Sprintf("order %d paid with %s by", r.IntN(1e6), Card(r)))
		}},
		{"e-mail", func(r *rand.Rand) string {
			return logged(r, fmt.Sprintf("user %s.%s@example.com logged in from 10.0.%d.%d", word(r), word(r), r.IntN(256), r.IntN(256)))
		}},
		{"IBAN", func(r *rand.Rand) string { return logged(r, "transfer to "+iban(r).Value+" was") }},
		{"SSN or ITIN", func(r *rand.Rand) string { return logged(r, "applicant "+ssn(r).Value+" has") }},
		{"phone", func(r *rand.Rand) string { return logged(r, "called "+phone(r).Value+" about") }},
		{"JWT", func(r *rand.Rand) string { return logged(r, "session of "+jwt(r).Value+" is") }},
		{"URL password", func(r *rand.Rand) string {
			return logged(r, fmt.Sprintf("connect to postgres://app:%s@db%d.internal:5432/shop", pick(r, alnum, 12), r.IntN(10)))
		}},
		{"assignment", func(r *rand.Rand) string { return word(r) + " " + secret(r).Value + " # " + word(r) + " " + word(r) }},
		{"command line", func(r *rand.Rand) string {
			return fmt.Sprintf("$ mysql -h db%d.internal -u %s -p%s %s", r.IntN(10), word(r), pick(r, alnum, 10), word(r))
		}},
		{"pgpass", func(r *rand.Rand) string {
			return fmt.Sprintf("db%d.internal.example.com:5432:%s:%s:%s", r.IntN(10), word(r), word(r), pick(r, alnum, 12))
		}},
		{"vendor token", vendorLine()},
		{"PEM", func(r *rand.Rand) string {
			return fmt.Sprintf(`{"id": %d, "key": "-----BEGIN PRIVATE KEY-----\n%s\n%s\n-----END PRIVATE KEY-----\n", "name": "%s"}`, r.IntN(1e6), Base64Line(r), Base64Line(r), word(r))
		}},
		{"encoded PEM", func(r *rand.Rand) string {
			return "    client-key-data: " + base64.StdEncoding.EncodeToString([]byte("-----BEGIN RSA PRIVATE KEY-----\n"+Base64Line(r)+"\n"))
		}},
		{"password hash", func(r *rand.Rand) string {
			return fmt.Sprintf("%s:$6$%s$%s:19000:0:99999:7:::", word(r), pick(r, alnum, 8), pick(r, alnum, 86))
		}},
		{"literal", func(r *rand.Rand) string { return logged(r, "status of "+Literal+" is") }},
		{"pattern", func(r *rand.Rand) string { return logged(r, fmt.Sprintf("badge EMP-%06d of", r.IntN(1e6))) }},
		{"field of JSON", func(r *rand.Rand) string {
			return fmt.Sprintf(`{"id": %d, "name": "%s %s", "%s": "%d %s street, %s", "active": true}`, r.IntN(1e6), word(r), word(r), Field, r.IntN(100), word(r), word(r))
		}},
		{"field of CSV", func(r *rand.Rand) string {
			return fmt.Sprintf("%d,%s,%d %s street,%s", r.IntN(1e6), word(r), r.IntN(100), word(r), stamp(r).Format(time.DateOnly))
		}},
	} {
		t := grow(k.name, func(r *rand.Rand, b *bytes.Buffer) { b.WriteString(k.line(r) + "\n") })
		if strings.HasSuffix(k.name, "CSV") {
			t.Text = append([]byte("id,name,"+Field+",since\n"), t.Text...)
		}
		out = append(out, t)
	}
	return out
}

// logged is text as a line of a log.
func logged(r *rand.Rand, text string) string {
	return stamp(r).Format(time.RFC3339) + " " + text + " " + word(r) + " " + word(r) + " " + word(r)
}

// vendorLine has a token of any issuer.
func vendorLine() func(r *rand.Rand) string {
	var forms []Form
	return func(r *rand.Rand) string {
		if forms == nil {
			forms = tokenForms(r)
		}
		return logged(r, "use "+forms[r.IntN(len(forms))].Text+" for")
	}
}
