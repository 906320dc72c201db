package config

import (
	"net/url"
	"strings"
)

func (s *S3) validate(at string) []problem {
	var p problems
	switch {
	case s.Endpoint == "" || s.Bucket == "":
		p.add(at, "give endpoint (host:port) and bucket", "is incomplete")
	case strings.Contains(s.Endpoint, "://"):
		p.add(at+".endpoint", "write host:port; insecure_plaintext: true is HTTP", "%q has a scheme", s.Endpoint)
	}
	if s.Prefix != "" && !strings.HasSuffix(s.Prefix, "/") {
		p.add(at+".prefix", "end it in a slash", "%q would run into the names behind it", s.Prefix)
	}
	if s.CAFile != "" && s.InsecurePlaintext {
		p.add(at+".ca_file", "take one of them away", "does not go with insecure_plaintext")
	}
	p = append(p, s.validateCredentials(at)...)
	switch s.SSE {
	case "", "s3", "kms":
	default:
		p.add(at+".sse", `write "s3" or "kms"`, "%q is no kind of encryption", s.SSE)
	}
	if (s.SSE == "kms") != (s.KMSKeyID != "") {
		p.add(at+".kms_key_id", "give sse: kms and kms_key_id together", "one without the other")
	}
	if s.SSE != "" && s.InsecurePlaintext {
		p.add(at+".sse", "speak TLS with the store", "stores refuse to encrypt what came over plain HTTP")
	}
	if l := s.ObjectLock; l != nil {
		p = append(p, l.validate(at+".object_lock")...)
	}
	return p
}

func (s *S3) validateCredentials(at string) []problem {
	var p problems
	if (s.AccessKeyFile == "") != (s.SecretKeyFile == "") {
		p.add(at+".access_key_file", "give both access_key_file and secret_key_file", "one without the other")
	}
	ways := 0
	for _, given := range []bool{s.AccessKeyFile != "", s.CredentialsFile != "", s.WebIdentity != nil, s.IAMRole != nil} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		p.add(at, "keep one of access_key_file, credentials_file, web_identity and iam_role", "says %d ways to get credentials", ways)
	}
	if s.Profile != "" && s.CredentialsFile == "" {
		p.add(at+".profile", "name the credentials_file that it is a section of", "is of no file")
	}
	if w := s.WebIdentity; w != nil {
		if w.TokenFile == "" {
			p.add(at+".web_identity.token_file", "name the file that holds the workload's token", "is missing")
		}
		p = append(p, validURL(at+".web_identity.sts_url", w.STSURL)...)
	}
	if s.IAMRole != nil {
		p = append(p, validURL(at+".iam_role.metadata_url", s.IAMRole.MetadataURL)...)
	}
	return p
}

func (l *ObjectLock) validate(at string) []problem {
	var p problems
	switch l.Mode {
	case "", "compliance", "governance":
	default:
		p.add(at+".mode", `write "compliance" or "governance"`, "%q is no mode", l.Mode)
	}
	if l.Mode != "" && l.Retain == 0 {
		p.add(at+".retain", "say for how long, such as 8760h", "a mode without a time locks nothing")
	}
	if l.Retain == 0 && !l.LegalHold {
		p.add(at, "give retain, or legal_hold: true, or leave the section out", "locks nothing")
	}
	return p
}

// validURL checks a URL that may be left out.
func validURL(path, text string) []problem {
	var p problems
	if text == "" {
		return p
	}
	if u, err := url.Parse(text); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		p.add(path, "write it like https://sts.example.com", "is not a URL")
	}
	return p
}
