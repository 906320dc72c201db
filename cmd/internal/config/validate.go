package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// validName is what a target, a user and the gate may be called: it becomes a login name, a file name
// and a host name.
var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// reserved names mean the gate itself.
var reserved = map[string]bool{"gate": true, "login": true}

func (c *Config) setDefaults() {
	def(&c.SSH.Listen, "0.0.0.0:2222")
	def(&c.SSH.HandshakeTimeout, Duration(20*time.Second))
	def(&c.SSH.MaxStartups, 200)
	def(&c.SSH.MaxStartupsPerSource, 20)
	def(&c.SSH.MaxConnectionsPerIdentity, 100)
	def(&c.SSH.MaxSessionsPerConnection, 64)
	def(&c.SSH.KeepAlive, Duration(30*time.Second))
	def(&c.HTTP.Listen, "127.0.0.1:8022")
	if c.HTTP.URL == "" {
		scheme := "http://"
		if c.HTTP.TLSCert != "" {
			scheme = "https://"
		}
		c.HTTP.URL = scheme + c.HTTP.Listen
	}
	def(&c.CA.UserValidity, Duration(15*time.Minute))
	def(&c.CA.HostValidity, Duration(720*time.Hour))
	def(&c.Masking.Style, "stars")
	def(&c.Masking.Hold, Duration(100*time.Millisecond))
	def(&c.Recordings.OnFailure, "strict")
	def(&c.Recordings.MaxSpool, 8<<30)
	for i := range c.Issuers {
		def(&c.Issuers[i].Kind, "human")
		def(&c.Issuers[i].MaxAge, Duration(time.Hour))
	}
	if c.Console.Issuer == "" {
		for _, is := range c.Issuers {
			if is.Kind == "human" {
				c.Console.Issuer = is.URL
				break
			}
		}
	}
}

// SetDefaults fills what a validated file would have; for configurations made in code.
func (c *Config) SetDefaults() { c.setDefaults() }

// Validate checks a configuration made in code.
func (c *Config) Validate() error { return place("configuration", nil, c.validate()) }

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

type problems []problem

func (p *problems) add(path, hint, format string, args ...any) {
	*p = append(*p, problem{path: path, msg: fmt.Sprintf(format, args...), hint: hint})
}

func (c *Config) validate() []problem {
	var p problems
	if !validName.MatchString(c.Gate.Name) {
		p.add("$.gate.name", "use the host name under which clients reach this gate", "%q cannot be a gate's name", c.Gate.Name)
	}
	for i, a := range c.Gate.Aliases {
		if !validName.MatchString(a) && !isIP(a) {
			p.add(fmt.Sprintf("$.gate.aliases[%d]", i), "use a host name or an address", "%q cannot be an alias", a)
		}
	}
	if _, _, err := net.SplitHostPort(c.SSH.Listen); err != nil {
		p.add("$.ssh.listen", "write host:port", "%q is not an address", c.SSH.Listen)
	}
	for path, n := range map[string]int{"$.ssh.max_startups": c.SSH.MaxStartups, "$.ssh.max_startups_per_source": c.SSH.MaxStartupsPerSource,
		"$.ssh.max_connections_per_identity": c.SSH.MaxConnectionsPerIdentity, "$.ssh.max_sessions_per_connection": c.SSH.MaxSessionsPerConnection} {
		if n < 1 {
			p.add(path, "use a positive number", "%d is no limit", n)
		}
	}
	p = append(p, c.validateHTTP()...)
	p = append(p, c.validateCA()...)
	p = append(p, c.validateIssuers()...)
	p = append(p, c.validateUsers()...)
	p = append(p, c.validateTargets()...)
	p = append(p, c.validateMasking()...)
	p = append(p, c.validateOnCall()...)
	p = append(p, c.validateWebhooks()...)
	p = append(p, c.validateStores()...)
	p = append(p, c.validateMetrics()...)
	p = append(p, c.validateEvents()...)
	return p
}

func (c *Config) validateHTTP() []problem {
	var p problems
	host, _, err := net.SplitHostPort(c.HTTP.Listen)
	if err != nil {
		p.add("$.http.listen", "write host:port", "%q is not an address", c.HTTP.Listen)
	}
	if (c.HTTP.TLSCert == "") != (c.HTTP.TLSKey == "") {
		p.add("$.http.tls_cert", "give both tls_cert and tls_key", "one without the other")
	}
	if c.HTTP.TLSCert == "" && !c.HTTP.InsecurePlaintext && !isLoopback(host) {
		p.add("$.http.listen", "give tls_cert and tls_key, listen on 127.0.0.1 behind a proxy, or say insecure_plaintext: true", "plain HTTP on %q would show tokens to the network", c.HTTP.Listen)
	}
	if u, err := url.Parse(c.HTTP.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		p.add("$.http.url", "write it like https://gate.example.com", "%q is not a URL", c.HTTP.URL)
	}
	return p
}

func (c *Config) validateCA() []problem {
	var p problems
	if c.CA.Dir == "" {
		p.add("$.ca.dir", "name a directory that only the gate can read", "is missing")
	}
	if v := c.CA.UserValidity.D(); v < time.Minute || v > 24*time.Hour {
		p.add("$.ca.user_validity", "choose between 1m and 24h", "%v is too short or too long for a user certificate", v)
	}
	if v := c.CA.HostValidity.D(); v < time.Hour {
		p.add("$.ca.host_validity", "choose 1h or more", "%v is too short for a host certificate", v)
	}
	return p
}

func (c *Config) validateIssuers() []problem {
	var p problems
	if len(c.Issuers) == 0 {
		p.add("$.issuers", "add the OpenID Connect provider that your people sign in with", "nobody could log in: there is none")
	}
	for i, is := range c.Issuers {
		at := fmt.Sprintf("$.issuers[%d]", i)
		u, err := url.Parse(is.URL)
		if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
			p.add(at+".url", "write https://...; http only on loopback", "%q is not an issuer", is.URL)
		}
		if len(is.Audiences) == 0 {
			p.add(at+".audiences", "name the audience of tokens meant for this gate", "is empty: tokens for anybody would be taken")
		}
		if is.Kind != "human" && is.Kind != "agent" {
			p.add(at+".kind", `write "human" or "agent"`, "%q is not a kind", is.Kind)
		}
	}
	return p
}

func (c *Config) validateUsers() []problem {
	var p problems
	seen := map[string]bool{}
	for i, u := range c.Users {
		at := fmt.Sprintf("$.users[%d]", i)
		switch {
		case !validName.MatchString(u.Name):
			p.add(at+".name", "use lower-case letters, digits, dots and hyphens", "%q cannot be a user's name", u.Name)
		case seen[u.Name]:
			p.add(at+".name", "remove one of them", "user %q is there twice", u.Name)
		}
		seen[u.Name] = true
		if u.Kind != "" && u.Kind != "human" && u.Kind != "agent" {
			p.add(at+".kind", `write "human" or "agent"`, "%q is not a kind", u.Kind)
		}
		if u.Subject != "" && u.Issuer == "" {
			p.add(at+".issuer", "name the issuer whose subject this is", "is missing")
		}
	}
	return p
}

func (c *Config) validateTargets() []problem {
	var p problems
	seen := map[string]bool{}
	for i, t := range c.Targets {
		at := fmt.Sprintf("$.targets[%d]", i)
		switch {
		case !validName.MatchString(t.Name):
			p.add(at+".name", "use lower-case letters, digits, dots and hyphens", "%q cannot be a target's name", t.Name)
		case reserved[t.Name]:
			p.add(at+".name", "choose another", "%q means the gate itself", t.Name)
		case seen[t.Name]:
			p.add(at+".name", "remove one of them", "target %q is there twice", t.Name)
		}
		seen[t.Name] = true
		p = append(p, t.validate(at)...)
	}
	return p
}

func (t *Target) validate(at string) []problem {
	var p problems
	sections := map[string]bool{"ssh": t.SSH != nil, "shell": t.Shell != nil, "tcp": t.TCP != nil, "postgres": t.Postgres != nil, "kubernetes": t.Kubernetes != nil}
	if _, ok := sections[t.Kind]; !ok {
		p.add(at+".kind", `write "ssh", "shell", "postgres", "kubernetes" or "tcp"`, "%q is not a kind of target", t.Kind)
		return p
	}
	for kind, there := range sections {
		if there && kind != t.Kind {
			p.add(at+"."+kind, "keep only the section of the target's kind", "does not go with kind: %s", t.Kind)
		}
	}
	switch {
	case t.Kind == "ssh" && t.SSH == nil, t.Kind == "tcp" && t.TCP == nil, t.Kind == "postgres" && t.Postgres == nil:
		p.add(at+"."+t.Kind, "add it, with at least an address or url", "the section is missing")
	case t.Kind == "kubernetes" && t.Kubernetes == nil:
		p.add(at+".kubernetes", "add it, with a server or a kubeconfig", "the section is missing")
	case t.Kind == "kubernetes":
		p = append(p, t.Kubernetes.validate(at+".kubernetes")...)
	case t.Kind == "ssh":
		p = append(p, t.SSH.validate(at+".ssh")...)
	case t.Kind == "tcp":
		p = append(p, validAddress(at+".tcp.address", t.TCP.Address)...)
	case t.Kind == "postgres":
		p = append(p, t.Postgres.validate(at+".postgres")...)
	case t.Shell != nil:
		p = append(p, t.Shell.validate(at+".shell")...)
	}
	return p
}

func (t *SSHTarget) validate(at string) []problem {
	p := problems(validAddress(at+".address", t.Address))
	if len(t.HostCA)+len(t.HostKeys) == 0 {
		p.add(at+".host_keys", "pin the host's key with host_keys, or its authority's with host_ca; `ssh-keyscan HOST` shows keys to compare", "the host could not be told from an impostor")
	}
	for name, list := range map[string][]string{"host_ca": t.HostCA, "host_keys": t.HostKeys} {
		for i, key := range list {
			if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(key)); err != nil {
				p.add(fmt.Sprintf("%s.%s[%d]", at, name, i), "write it as in a .pub file: ssh-ed25519 AAAA...", "is not a public key")
			}
		}
	}
	switch t.Guard {
	case "", "hook", "screen", "none":
	default:
		p.add(at+".guard", "write hook, screen or none, or leave it out", "%q is no guard", t.Guard)
	}
	for i, s := range t.SourceAddresses {
		if _, err := netip.ParsePrefix(s); err != nil && !isIP(s) {
			p.add(fmt.Sprintf("%s.source_addresses[%d]", at, i), "write an address or a CIDR block", "%q is neither", s)
		}
	}
	return p
}

func (t *PostgresTarget) validate(at string) []problem {
	var p problems
	u, err := url.Parse(t.URL)
	switch {
	case err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql":
		p.add(at+".url", "write postgres://USER@HOST:PORT/DATABASE", "is not the URL of a PostgreSQL server") // it may hold a password
	case u.User != nil && hasPassword(u.User):
		p.add(at+".url", "put it into a file and name that in password_file", "holds a password")
	}
	if len(t.Logins) == 0 {
		p.add(at+".logins", "name the roles that sessions may act as", "is empty: sessions could be nobody")
	}
	if t.RecordedRows < 0 || t.RecordedRows > 1_000_000 {
		p.add(at+".recorded_rows", "write 1 to 1000000, or leave it out for 10", "%d is out of bounds", t.RecordedRows)
	}
	switch t.Credential {
	case "", "password", "certificate", "login":
	default:
		p.add(at+".credential", `write "password", "certificate" or "login"`, "%q is no credential", t.Credential)
	}
	for i, c := range t.Protected {
		if relation, column := c.Split(); strings.Count(relation, ".") != 1 || column == "" {
			p.add(fmt.Sprintf("%s.protected[%d].column", at, i), "write SCHEMA.TABLE.COLUMN", "%q names no column", c.Column)
		}
		switch c.Style {
		case "", "stars", "last4", "token", "null":
		default:
			p.add(fmt.Sprintf("%s.protected[%d].style", at, i), `write "stars", "last4", "token" or "null"`, "%q is not a style", c.Style)
		}
	}
	return p
}

func hasPassword(u *url.Userinfo) bool { _, ok := u.Password(); return ok }

func (t *KubernetesTarget) validate(at string) []problem {
	var p problems
	if (t.Server == "") == (t.Kubeconfig == "") {
		p.add(at+".server", "give server, or a kubeconfig that has it, and not both", "where the API server is must be said once")
	}
	if u, err := url.Parse(t.Server); t.Server != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil) {
		p.add(at+".server", "write https://host:port", "%q is no API server", t.Server)
	}
	if t.Server != "" && (t.TokenFile == "") == (t.CertificateFile == "") {
		p.add(at+".token_file", "give token_file, or certificate_file and key_file", "the gate needs one credential of its own")
	}
	if (t.CertificateFile == "") != (t.KeyFile == "") {
		p.add(at+".key_file", "give both, or neither", "certificate_file and key_file go together")
	}
	if t.Kubeconfig != "" && t.TokenFile+t.CertificateFile+t.CAFile+t.ServerName != "" {
		p.add(at+".kubeconfig", "leave the other credentials out", "says all of it")
	}
	if t.Context != "" && t.Kubeconfig == "" {
		p.add(at+".context", "give kubeconfig as well", "is a context of a kubeconfig")
	}
	namespace, name, found := strings.Cut(t.ServiceAccount, "/")
	if t.ServiceAccount != "" && (!found || !validName.MatchString(namespace) || !validName.MatchString(name)) {
		p.add(at+".service_account", "write namespace/name", "%q is no service account", t.ServiceAccount)
	}
	return p
}

func (t *ShellTarget) validate(at string) []problem {
	var p problems
	if t.RunAs < 0 {
		p.add(at+".run_as", "use the number of an unprivileged user", "%d is no uid", t.RunAs)
	}
	for i, b := range t.Binds {
		if b.Source == "" || !strings.HasPrefix(b.Path, "/") {
			p.add(fmt.Sprintf("%s.binds[%d]", at, i), "give source and an absolute path", "%q at %q", b.Source, b.Path)
		}
	}
	return p
}

func (c *Config) validateMasking() []problem {
	var p problems
	switch c.Masking.Style {
	case "", "stars", "last4", "token":
	default:
		p.add("$.masking.style", `write "stars", "last4" or "token"`, "%q is not a style", c.Masking.Style)
	}
	token := c.Masking.Style == "token"
	for i, s := range c.Masking.Styles {
		p = append(p, c.validateMaskStyle(s, fmt.Sprintf("$.masking.styles[%d]", i))...)
		token = token || s.Style == "token"
	}
	if token && c.Masking.TokenKeyFile == "" {
		p.add("$.masking.token_key_file", "name a file with at least 16 random bytes", "style token needs a key")
	}
	for i, pat := range c.Masking.Patterns {
		at := fmt.Sprintf("$.masking.patterns[%d]", i)
		if pat.Name == "" {
			p.add(at+".name", "name it; the name is shown where it hits", "is missing")
		}
		if _, err := regexp.Compile(pat.Regex); err != nil || pat.Regex == "" {
			p.add(at+".regex", "write it in RE2 syntax", "%q does not compile", pat.Regex)
		}
	}
	return p
}

func (c *Config) validateMaskStyle(s MaskStyle, at string) []problem {
	var p problems
	switch s.Style {
	case "stars", "last4", "token":
	default:
		p.add(at+".style", `write "stars", "last4" or "token"`, "%q is not a style", s.Style)
	}
	if s.Kind != "" && s.Kind != "human" && s.Kind != "agent" {
		p.add(at+".kind", `write "human" or "agent", or leave it out`, "%q is no kind of identity", s.Kind)
	}
	for i, name := range s.Targets {
		if !slices.ContainsFunc(c.Targets, func(t Target) bool { return t.Name == name }) {
			p.add(fmt.Sprintf("%s.targets[%d]", at, i), "write the name of a target", "there is no target %q", name)
		}
	}
	return p
}

func (c *Config) validateStores() []problem {
	var p problems
	if !strings.HasPrefix(c.Ledger.URL, "sqlite:") && !strings.HasPrefix(c.Ledger.URL, "postgres://") && !strings.HasPrefix(c.Ledger.URL, "postgresql://") {
		p.add("$.ledger.url", "write sqlite:PATH or postgres://...", "is not a ledger")
	}
	r := c.Recordings
	if r.Spool == "" {
		p.add("$.recordings.spool", "name a local directory", "is missing")
	}
	if (r.Directory == "") == (r.S3 == nil) {
		p.add("$.recordings", "give either directory or s3", "needs exactly one store")
	}
	if r.S3 != nil {
		p = append(p, r.S3.validate("$.recordings.s3")...)
		if l := r.S3.ObjectLock; l != nil && r.Retention > 0 && l.Retain > r.Retention {
			p.add("$.recordings.retention", "purge no sooner than object_lock.retain allows", "%v is shorter than the lock of %v", r.Retention.D(), l.Retain.D())
		}
	}
	if r.Retention > 0 && r.Retention < Duration(time.Hour) {
		p.add("$.recordings.retention", "write 8760h for a year; leave it out to keep them for ever", "%v is too short to be meant", r.Retention.D())
	}
	for path, n := range map[string]int64{"$.recordings.max_spool": r.MaxSpool, "$.recordings.min_free": r.MinFree} {
		if n < 0 {
			p.add(path, "write a number of bytes", "%d is negative", n)
		}
	}
	if r.OnFailure != "strict" && r.OnFailure != "degrade" {
		p.add("$.recordings.on_failure", `write "strict" or "degrade"`, "%q is neither", r.OnFailure)
	}
	return p
}

func (c *Config) validateMetrics() []problem {
	var p problems
	if c.Metrics.Listen == "" {
		return p
	}
	host, _, err := net.SplitHostPort(c.Metrics.Listen)
	switch {
	case err != nil:
		p.add("$.metrics.listen", "write host:port", "%q is not an address", c.Metrics.Listen)
	case c.Metrics.TokenFile == "" && !isLoopback(host):
		p.add("$.metrics.listen", "listen on 127.0.0.1, or give token_file", "anybody on %q could read the figures", c.Metrics.Listen)
	}
	return p
}

func validAddress(path, address string) []problem {
	var p problems
	if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
		p.add(path, "write host:port", "%q is not an address", address)
	}
	return p
}

func isIP(s string) bool { _, err := netip.ParseAddr(s); return err == nil }

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
