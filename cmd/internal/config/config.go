// Package config is the gate's configuration file: one documented struct, read strictly. A file that
// cannot be understood in full is refused, with file:line:column, what was wrong and what to do.
package config

import (
	"strings"
	"time"
)

// Config is everything that `sallyport serve --config F` reads. `sallyport dev` makes one of its own and
// merges targets, users, policies and masking of a --config into it. Once validated it never changes.
type Config struct {
	// Gate names this gate.
	Gate Gate `yaml:"gate"`
	// SSH is the front door.
	SSH SSH `yaml:"ssh"`
	// HTTP serves the console and the certificate endpoint.
	HTTP HTTP `yaml:"http"`
	// CA is the certificate authority.
	CA CA `yaml:"ca"`
	// Issuers are the OpenID Connect providers whose tokens are taken. At least one.
	Issuers []Issuer `yaml:"issuers"`
	// Users adds what the provider does not know of an identity: groups, kind, on whose behalf.
	Users []User `yaml:"users"`
	// Targets are what is behind the gate.
	Targets []Target `yaml:"targets"`
	// Policies are Cedar files, or directories of *.cedar files; relative to this file. Empty: the
	// default set that is in the binary.
	Policies []string `yaml:"policies"`
	// Masking says what is masked in every output, beside the detectors' own rules.
	Masking Masking `yaml:"masking"`
	// Ledger is where sessions, operations and holds are kept.
	Ledger Ledger `yaml:"ledger"`
	// Recordings is where the evidence goes.
	Recordings Recordings `yaml:"recordings"`
	// Console is the web console's sign-in.
	Console Console `yaml:"console"`
	// OnCall are groups whose members change with the time.
	OnCall []OnCall `yaml:"on_call"`
	// Webhooks tell others what waits for an answer.
	Webhooks []Webhook `yaml:"webhooks"`
	// Metrics is where Prometheus reads figures.
	Metrics Metrics `yaml:"metrics"`
	// Events are the sinks that audit events go to.
	Events []Events `yaml:"events"`
}

// Gate names this gate. Name is what host certificates carry and known_hosts lines match; letters,
// digits, dots and hyphens.
type Gate struct {
	Name string `yaml:"name"`
	// Aliases are further host names under which clients reach this gate.
	Aliases []string `yaml:"aliases"`
}

// SSH is the front door: where it listens and what a peer may use up.
type SSH struct {
	// Listen is host:port. Default 0.0.0.0:2222.
	Listen string `yaml:"listen"`
	// HandshakeTimeout bounds everything before authentication has succeeded. Default 20s.
	HandshakeTimeout Duration `yaml:"handshake_timeout"`
	// MaxStartups bounds connections that have not authenticated yet. Default 200.
	MaxStartups int `yaml:"max_startups"`
	// MaxStartupsPerSource bounds the same for one address (an IPv6 /64 is one). Default 20.
	MaxStartupsPerSource int `yaml:"max_startups_per_source"`
	// MaxConnectionsPerIdentity bounds authenticated connections of one identity. Default 100.
	MaxConnectionsPerIdentity int `yaml:"max_connections_per_identity"`
	// MaxSessionsPerConnection bounds open channels of one connection. Default 64.
	MaxSessionsPerConnection int `yaml:"max_sessions_per_connection"`
	// KeepAlive is how often a silent client is asked whether it is there; after three unanswered
	// the connection ends. Default 30s.
	KeepAlive Duration `yaml:"keepalive"`
}

// HTTP is the console's and the certificate endpoint's listener.
type HTTP struct {
	// Listen is host:port. Default 127.0.0.1:8022.
	Listen string `yaml:"listen"`
	// URL is how browsers and clients reach it. Default http://LISTEN.
	URL string `yaml:"url"`
	// TLSCert and TLSKey are PEM files. Without them Listen must be a loopback address, or a proxy
	// in front must speak TLS and InsecurePlaintext must say so.
	TLSCert string `yaml:"tls_cert"`
	TLSKey  string `yaml:"tls_key"`
	// InsecurePlaintext lets the listener speak plain HTTP on an address that is not loopback.
	InsecurePlaintext bool `yaml:"insecure_plaintext"`
}

// CA is the embedded certificate authority.
type CA struct {
	// Dir holds its keys, made at first start, readable by the gate alone.
	Dir string `yaml:"dir"`
	// UserValidity is how long a user certificate lives. Default 15m, at most 24h.
	UserValidity Duration `yaml:"user_validity"`
	// HostValidity is how long the gate's host certificate lives; renewed at half. Default 720h.
	HostValidity Duration `yaml:"host_validity"`
}

// Issuer is one OpenID Connect provider.
type Issuer struct {
	// URL is the issuer, exactly as its tokens say it.
	URL string `yaml:"url"`
	// Audiences that a token must be for, at least one of them.
	Audiences []string `yaml:"audiences"`
	// OtherAudiences may stand in a token beside one of Audiences; a token for anybody else is refused.
	OtherAudiences []string `yaml:"other_audiences"`
	// Kind is "human" or "agent": what the holders of its tokens are.
	Kind string `yaml:"kind"`
	// Algorithms allowed to sign. Default RS256, PS256, ES256, EdDSA.
	Algorithms []string `yaml:"algorithms"`
	// MaxAge refuses tokens issued longer ago. Default 1h.
	MaxAge Duration `yaml:"max_age"`
	// Skew is how far the issuer's clock may be off. Default 30s, at most 5m.
	Skew Duration `yaml:"skew"`
	// ClientID is what `sallyport login` uses with this issuer.
	ClientID string `yaml:"client_id"`
	// Scopes that `sallyport login` asks for. Default openid, profile, email, groups.
	Scopes []string `yaml:"scopes"`
	// RequireEmail refuses tokens without an e-mail that the issuer has verified.
	RequireEmail bool `yaml:"require_email"`
	// Claims names the claims that the identity is made of; dots go into objects.
	Claims Claims `yaml:"claims"`
}

// Claims maps claims to the identity. Empty fields have defaults: preferred_username, email, groups.
type Claims struct {
	Name       string `yaml:"name"`
	Email      string `yaml:"email"`
	Groups     string `yaml:"groups"`
	Kind       string `yaml:"kind"`
	OnBehalfOf string `yaml:"on_behalf_of"`
}

// User adds to an identity. It is matched by issuer and subject, or by verified e-mail. `sallyport dev`
// also makes each one a user of its own provider.
type User struct {
	// Name is how it is called. In dev: the user to sign in as, and the directory of its ssh_config.
	Name string `yaml:"name"`
	// Issuer and Subject identify it exactly; or Email does, when Issuer (default: the console's) has
	// verified it.
	Issuer  string `yaml:"issuer"`
	Subject string `yaml:"subject"`
	Email   string `yaml:"email"`
	// Groups are added to those of the token.
	Groups []string `yaml:"groups"`
	// Kind is "human" or "agent"; default what the issuer says, in dev human.
	Kind string `yaml:"kind"`
	// OnBehalfOf is the name of the user that an agent acts for.
	OnBehalfOf string `yaml:"on_behalf_of"`
}

// Target is a named thing behind the gate. Exactly the section of its kind is present.
type Target struct {
	// Name is how it is reached: `ssh NAME@gate`. Lower-case letters, digits, hyphens and dots.
	Name string `yaml:"name"`
	// Kind is ssh, shell, postgres, kubernetes or tcp.
	Kind string `yaml:"kind"`
	// Labels are what policies go by, such as env: prod.
	Labels map[string]string `yaml:"labels"`
	// Description is shown in `ssh gate@gate targets`.
	Description string `yaml:"description"`

	SSH   *SSHTarget   `yaml:"ssh"`
	Shell *ShellTarget `yaml:"shell"`
	TCP   *TCPTarget   `yaml:"tcp"`

	Postgres   *PostgresTarget   `yaml:"postgres"`
	Kubernetes *KubernetesTarget `yaml:"kubernetes"`
}

// SSHTarget is a host.
type SSHTarget struct {
	// Address is host:port.
	Address string `yaml:"address"`
	// Login is the user when the client names none. Empty: the client must name one.
	Login string `yaml:"login"`
	// Logins are all that may be asked for; empty: any that policy lets through.
	Logins []string `yaml:"logins"`
	// HostCA are public keys of authorities whose host certificates are taken for this name.
	HostCA []string `yaml:"host_ca"`
	// HostKeys are pinned public keys, in the form of a .pub file.
	HostKeys []string `yaml:"host_keys"`
	// Names are what the host's certificate may say. Default: the target's name and the address's host.
	Names []string `yaml:"names"`
	// SourceAddresses replaces the gate's own address in the credential, for hosts behind NAT.
	SourceAddresses []string `yaml:"source_addresses"`
	// Guard says how the commands of terminals are known: hook (the host's bash or zsh asks the gate before each,
	// or no terminal is opened), screen (they are read off the terminal, which is advisory) or none. Default:
	// hook where the host allows it, else screen.
	Guard string `yaml:"guard"`
	// ConnectTimeout bounds dial and handshake. Default 10s.
	ConnectTimeout Duration `yaml:"connect_timeout"`
}

// ShellTarget is a sandboxed shell on the gate itself.
type ShellTarget struct {
	// Home is the directory inside the sandbox in which it starts. Default /home/USER.
	Home string `yaml:"home"`
	// User is the name that the shell sees. Default "user".
	User string `yaml:"user"`
	// RunAs is the host's uid and gid under which it runs when the gate is root. Default 1900000022,
	// which nothing else uses.
	RunAs int `yaml:"run_as"`
	// Binds are directories of the gate's machine shown inside.
	Binds []Bind `yaml:"binds"`
	// Network lets the sandbox use the gate's network. Default no.
	Network bool `yaml:"network"`
	// Shell is the interactive shell. Default /bin/bash, which asks before each command.
	Shell string `yaml:"shell"`
	// InsecureNoSandbox runs it as the gate's own user where no sandbox can be made.
	InsecureNoSandbox bool `yaml:"insecure_no_sandbox"`
}

// Bind shows Source, relative to the configuration file, at Path.
type Bind struct {
	Source   string `yaml:"source"`
	Path     string `yaml:"path"`
	Writable bool   `yaml:"writable"`
}

// PostgresTarget is a PostgreSQL server. Each session logs in as a role of its own, which is made for it and
// dropped with it.
type PostgresTarget struct {
	// URL is the login that makes those roles: postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full, with
	// the parameters of libpq, sslrootcert, sslcert and sslkey among them. It needs CREATEROLE, and
	// membership with the admin option in every role of Logins; being superuser is not needed.
	URL string `yaml:"url"`
	// PasswordFile holds its password. Without one: PGPASSWORD, or a client certificate.
	PasswordFile string `yaml:"password_file"`
	// Credential is what sessions log in with: password (a role made for the session, with a random password),
	// certificate (such a role, with a client certificate of this gate's authority) or login (the login itself,
	// with a client certificate; no role is made). Default password.
	Credential string `yaml:"credential"`
	// Writable lets sessions write at any time, as far as their role may. Default false: the server refuses
	// writes but in statements that say that they write, and were admitted.
	Writable bool `yaml:"writable"`
	// Databases are all that may be asked for; the first is the default. Empty: that of URL.
	Databases []string `yaml:"databases"`
	// Logins are the roles that a session may act as; the first is the default.
	Logins []string `yaml:"logins"`
	// RecordedRows are shown of each result when a session is played: masked, as the client saw them. Default 10, at
	// most 1,000,000.
	RecordedRows int `yaml:"recorded_rows"`
	// Protected columns are masked whatever they hold.
	Protected []ProtectedColumn `yaml:"protected"`
	// ConnectTimeout bounds each login. Default 10s.
	ConnectTimeout Duration `yaml:"connect_timeout"`
}

// ProtectedColumn is masked by where a value comes from, through views and partitions.
type ProtectedColumn struct {
	// Column is SCHEMA.TABLE.COLUMN; * for COLUMN is all of them.
	Column string `yaml:"column"`
	// Style is stars, last4, token (with masking.token_key_file) or null. Default stars.
	Style string `yaml:"style"`
}

// Split returns schema.table and column.
func (p ProtectedColumn) Split() (relation, column string) {
	i := strings.LastIndexByte(p.Column, '.')
	if i < 0 {
		return "", p.Column
	}
	return p.Column[:i], p.Column[i+1:]
}

// KubernetesTarget is an API server. The gate's own credential is a token, a certificate or what a kubeconfig has; it
// mints those of sessions.
type KubernetesTarget struct {
	// Server is https://host:port. Kubeconfig may say it instead.
	Server string `yaml:"server"`
	// CAFile holds the authorities that the server's certificate is judged by. Default: the system's.
	CAFile string `yaml:"ca_file"`
	// ServerName is what the server's certificate must say. Default: the host of Server.
	ServerName string `yaml:"server_name"`
	// TokenFile holds the gate's bearer token; it is read anew for every request.
	TokenFile string `yaml:"token_file"`
	// CertificateFile and KeyFile are the gate's client certificate, in PEM.
	CertificateFile string `yaml:"certificate_file"`
	KeyFile         string `yaml:"key_file"`
	// Kubeconfig is a file that has all of it; Context one of its contexts, by default the current one.
	Kubeconfig string `yaml:"kubeconfig"`
	Context    string `yaml:"context"`
	// ServiceAccount, as namespace/name, makes every session act with a token of that account, minted for it. Default:
	// sessions act as the user, by impersonation.
	ServiceAccount string `yaml:"service_account"`
	// GroupPrefix stands before the names of the user's groups in the cluster. Default "sallyport:".
	GroupPrefix string `yaml:"group_prefix"`
	// Kubectl is the program that runs, in a sandbox, for `ssh TARGET@gate get pods`. Default: the one in PATH; without
	// one the target is reached by forwards alone.
	Kubectl string `yaml:"kubectl"`
	// ConnectTimeout bounds the dial. Default 10s.
	ConnectTimeout Duration `yaml:"connect_timeout"`
}

// TCPTarget is an address that is forwarded raw, where a policy says so.
type TCPTarget struct {
	Address        string   `yaml:"address"`
	ConnectTimeout Duration `yaml:"connect_timeout"`
}

// Masking adds to the detectors.
type Masking struct {
	// Detectors are the names of those in force; empty: all.
	Detectors []string `yaml:"detectors"`
	// Style is stars, last4 or token. Default stars.
	Style string `yaml:"style"`
	// Styles are other styles for some sessions. The first that fits counts.
	Styles []MaskStyle `yaml:"styles"`
	// TokenKeyFile holds the key of style token, at least 16 bytes.
	TokenKeyFile string `yaml:"token_key_file"`
	// Patterns are the operator's own, in RE2 syntax.
	Patterns []Pattern `yaml:"patterns"`
	// Literals are strings that are masked wherever they stand.
	Literals []string `yaml:"literals"`
	// Fields are names of JSON and CSV fields whose values are masked.
	Fields []string `yaml:"fields"`
	// Hold is how long undecided bytes may wait before they are masked. Default 100ms.
	Hold Duration `yaml:"hold"`
}

// MaskStyle is the style of sessions that fit all that it says; what it leaves out fits everything.
type MaskStyle struct {
	// Style is stars, last4 or token.
	Style string `yaml:"style"`
	// Targets are names of targets, one of which it is.
	Targets []string `yaml:"targets"`
	// Labels are labels that the target has, all of them.
	Labels map[string]string `yaml:"labels"`
	// Kind is human or agent.
	Kind string `yaml:"kind"`
	// Groups are groups of which the identity has one.
	Groups []string `yaml:"groups"`
	// Terminal is true for sessions in a terminal, false for those without.
	Terminal *bool `yaml:"terminal"`
}

// Pattern is one of the operator's own.
type Pattern struct {
	Name  string `yaml:"name"`
	Regex string `yaml:"regex"`
}

// Ledger is the SQL store.
type Ledger struct {
	// URL is sqlite:PATH (relative to the configuration file) or postgres://...
	URL string `yaml:"url"`
}

// Recordings is where casts are spooled and stored.
type Recordings struct {
	// Spool is a local directory that survives restarts.
	Spool string `yaml:"spool"`
	// OnFailure is strict (the session ends when it cannot be recorded; default) or degrade (it goes on,
	// with an alarm).
	OnFailure string `yaml:"on_failure"`
	// MaxSpool is how many bytes may wait there for the store. New sessions are refused at nine tenths of
	// it; sessions that run end at all of it. Default 8 GiB.
	MaxSpool int64 `yaml:"max_spool"`
	// MinFree is how many bytes must be free on the spool's disk for new sessions. Default 256 MiB, or a
	// twentieth of the disk if that is less.
	MinFree int64 `yaml:"min_free"`
	// EssentialGroups may open sessions when others are refused for want of room, so that somebody can make
	// some. Each such session is an audit event.
	EssentialGroups []string `yaml:"essential_groups"`
	// Retention is how long recordings are kept: older ones are purged every hour, and each purge stands in
	// the chain of seals and among the audit events. Default: for ever.
	Retention Duration `yaml:"retention"`
	// Directory stores them on this machine; excludes S3.
	Directory string `yaml:"directory"`
	// S3 stores them in MinIO or any S3; excludes Directory.
	S3 *S3 `yaml:"s3"`
}

// S3 is an object store.
type S3 struct {
	// Endpoint is host:port.
	Endpoint string `yaml:"endpoint"`
	Bucket   string `yaml:"bucket"`
	Prefix   string `yaml:"prefix"`
	// Region is asked from the server where none is named.
	Region string `yaml:"region"`
	// InsecurePlaintext speaks HTTP.
	InsecurePlaintext bool `yaml:"insecure_plaintext"`
	// CAFile holds the authorities of the server's certificate instead of the system's.
	CAFile string `yaml:"ca_file"`
	// Timeout bounds one request. Default 30s.
	Timeout Duration `yaml:"timeout"`
	// PathStyle puts the bucket into the path, as MinIO likes it. Default true.
	PathStyle *bool `yaml:"path_style"`
	// AccessKeyFile and SecretKeyFile hold the credentials, each one line. Files are read again when the
	// server refuses what they held. Exactly one way to get credentials, or none: then AWS_ACCESS_KEY_ID
	// and AWS_SECRET_ACCESS_KEY of the environment, or the workload's identity as the environment has it.
	AccessKeyFile string `yaml:"access_key_file"`
	SecretKeyFile string `yaml:"secret_key_file"`
	// CredentialsFile has the form of ~/.aws/credentials; Profile is its section, default "default".
	CredentialsFile string `yaml:"credentials_file"`
	Profile         string `yaml:"profile"`
	// WebIdentity exchanges a workload's OpenID Connect token (a Kubernetes service account's) for keys.
	WebIdentity *WebIdentity `yaml:"web_identity"`
	// IAMRole takes the keys of the machine's role from its cloud's metadata service.
	IAMRole *IAMRole `yaml:"iam_role"`

	// SSE encrypts at rest by the server: "s3" with its own keys, "kms" with KMSKeyID. Empty: as the
	// bucket is set.
	SSE      string `yaml:"sse"`
	KMSKeyID string `yaml:"kms_key_id"`
	// ObjectLock keeps everybody from removing recordings. The bucket must have been made with object lock.
	ObjectLock *ObjectLock `yaml:"object_lock"`
}

// WebIdentity is AssumeRoleWithWebIdentity.
type WebIdentity struct {
	// TokenFile holds the token; it is read at each exchange.
	TokenFile string `yaml:"token_file"`
	// RoleARN is the role to take on. Not needed by a MinIO that goes by the token's claims.
	RoleARN string `yaml:"role_arn"`
	// STSURL is where tokens are exchanged. Default: the store itself, as MinIO has it.
	STSURL string `yaml:"sts_url"`
}

// IAMRole is the role of the machine.
type IAMRole struct {
	// MetadataURL is the metadata service. Default: found by the environment, else EC2's.
	MetadataURL string `yaml:"metadata_url"`
}

// ObjectLock is how the store holds on to what it was given.
type ObjectLock struct {
	// Mode is compliance (nobody can lift the lock; default) or governance (the store's privileged can).
	Mode string `yaml:"mode"`
	// Retain is how long each object is locked from when it was stored. Default: as the bucket is set.
	Retain Duration `yaml:"retain"`
	// LegalHold puts every object under a hold that lasts until the store's operator lifts it.
	LegalHold bool `yaml:"legal_hold"`
}

// Console is the web console's client at one of the issuers.
type Console struct {
	// Issuer is the URL of one of Issuers. Default: the first that is human.
	Issuer string `yaml:"issuer"`
	// ClientID and ClientSecretFile are the console's own registration; its redirect URL is
	// HTTP.URL + "/signin/callback". Without a secret it is a public client; PKCE is used always.
	ClientID         string `yaml:"client_id"`
	ClientSecretFile string `yaml:"client_secret_file"`
}

// Metrics is the endpoint /metrics. Without Listen and TokenFile there is none.
type Metrics struct {
	// Listen is host:port of a listener of its own, plain HTTP. Without TokenFile it must be a loopback
	// address.
	Listen string `yaml:"listen"`
	// TokenFile holds a token that the reader must send as `Authorization: Bearer`. Without Listen the
	// figures are at /metrics of the console's listener, and the token is what protects them.
	TokenFile string `yaml:"token_file"`
}

// Events is one sink of audit events. Exactly one of File, Stdout, Syslog and Webhook is given.
type Events struct {
	// Name is what its cursor and its figures are called; letters, digits, dots and hyphens. Gates that
	// share a ledger and a name share the work: one of them at a time hands events over.
	Name string `yaml:"name"`
	// File gets a line of JSON for each event.
	File string `yaml:"file"`
	// Stdout gets the same on the gate's standard output.
	Stdout bool `yaml:"stdout"`
	// Syslog is a server that speaks RFC 5424.
	Syslog *Syslog `yaml:"syslog"`
	// Webhook is posted to.
	Webhook *EventsWebhook `yaml:"webhook"`
}

// Syslog is a syslog server.
type Syslog struct {
	// Network is tcp, tls, udp or unix. Only over tcp and tls is it known what the server has taken.
	Network string `yaml:"network"`
	// Address is host:port, or the path of a socket.
	Address string `yaml:"address"`
	// CAFile holds the authorities of the server's certificate instead of the system's; TLSCert and TLSKey
	// are what the gate proves itself with, where the server asks.
	CAFile  string `yaml:"ca_file"`
	TLSCert string `yaml:"tls_cert"`
	TLSKey  string `yaml:"tls_key"`
}

// EventsWebhook gets lines of JSON by POST.
type EventsWebhook struct {
	// URL is https://...; http only on loopback.
	URL string `yaml:"url"`
	// SecretFile holds what requests are signed with, at least 16 bytes.
	SecretFile string `yaml:"secret_file"`
	// CAFile holds the authorities of the server's certificate instead of the system's.
	CAFile string `yaml:"ca_file"`
}

// Duration is a time.Duration written like 15m or 1h30m.
type Duration time.Duration

// D returns d as the standard library has it.
func (d Duration) D() time.Duration { return time.Duration(d) }

// Issuer returns the issuer with this URL, or nil.
func (c *Config) Issuer(url string) *Issuer {
	for i := range c.Issuers {
		if c.Issuers[i].URL == url {
			return &c.Issuers[i]
		}
	}
	return nil
}
