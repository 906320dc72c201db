package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const good = `
gate: {name: gate.example.com}
ca: {dir: ca}
issuers:
  - url: https://id.example.com
    audiences: [sallyport]
ledger: {url: "sqlite:ledger.db"}
recordings: {spool: spool, directory: casts}
`

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLoadFillsDefaultsAndResolvesPaths(t *testing.T) {
	file := write(t, good)
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.CA.Dir, filepath.Join(filepath.Dir(file), "ca"); got != want {
		t.Errorf("ca.dir = %q, want %q", got, want)
	}
	if got := c.CA.UserValidity.D(); got != 15*time.Minute {
		t.Errorf("user certificates live %v by default, want 15m", got)
	}
	if c.Console.Issuer != "https://id.example.com" || c.Issuers[0].Kind != "human" {
		t.Errorf("the console signs in at %q (%s), want the first human issuer", c.Console.Issuer, c.Issuers[0].Kind)
	}
	if c.HTTP.URL != "http://127.0.0.1:8022" {
		t.Errorf("http.url = %q", c.HTTP.URL)
	}
}

func TestLoadRefuses(t *testing.T) {
	target := func(body string) string { return good + "targets:\n  - name: web1\n" + body }
	s3 := func(body string) string { return strings.Replace(good, "directory: casts", "s3: {"+body+"}", 1) }
	key := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGi9Gqe5nJEIzUDjbfGfCQC8IVjx8Z6n9rNo3wC5tYpS"
	for _, tt := range []struct{ name, text, want string }{
		{"unknown key", good + "gaet: {name: x}\n", `:9:1: unknown key "gaet"; did you mean "gate"?`},
		{"unknown nested key", target("    kind: ssh\n    ssh:\n      adress: a:22\n"), `:13:7: unknown key "adress"; did you mean "address"?`},
		{"broken YAML", good + "targets: [\n", ":9:"},
		{"twice the same key", good + "gate: {name: x}\n", ":9:1: "},
		{"a bare number is no duration", good + "ssh: {keepalive: 30}\n", "30s, 15m"},
		{"negative duration", good + "ssh: {keepalive: -3s}\n", "cannot be negative"},
		{"wrong type", good + "ssh: {max_startups: many}\n", ":9:21: "},
		{"no kind", target("    labels: {env: prod}\n"), `"" is not a kind of target; write "ssh"`},
		{"kind without section", target("    kind: ssh\n"), "the section is missing"},
		{"section of another kind", target("    kind: shell\n    tcp: {address: 'a:1'}\n"), "does not go with kind: shell"},
		{"a host that nothing identifies", target("    kind: ssh\n    ssh: {address: 'a:22'}\n"), "told from an impostor"},
		{"a host key that is none", target("    kind: ssh\n    ssh: {address: 'a:22', host_keys: [nonsense]}\n"), "targets[0].ssh.host_keys[0]: is not a public key"},
		{"address without port", target("    kind: ssh\n    ssh: {address: a, host_keys: ['" + key + "']}\n"), `"a" is not an address; write host:port`},
		{"reserved name", good + "targets:\n  - {name: gate, kind: shell}\n", "means the gate itself"},
		{"a name that is a path", good + "targets:\n  - {name: ../x, kind: shell}\n", `:10:12: targets[0].name: "../x" cannot be`},
		{"target twice", good + "targets:\n  - {name: a, kind: shell}\n  - {name: a, kind: shell}\n", "is there twice"},
		{"plain HTTP in the open", good + "http: {listen: '0.0.0.0:80'}\n", "would show tokens to the network"},
		{"issuer over plain HTTP", strings.Replace(good, "https://id", "http://id", 1), "is not an issuer"},
		{"no audience", strings.Replace(good, "    audiences: [sallyport]\n", "", 1), "tokens for anybody"},
		{"a day and more", strings.Replace(good, "{dir: ca}", "{dir: ca, user_validity: 25h}", 1), "too short or too long"},
		{"two stores", strings.Replace(good, "directory: casts", "directory: casts, s3: {endpoint: 'a:1', bucket: b}", 1), "exactly one store"},
		{"S3 with a scheme", s3("endpoint: 'https://h', bucket: b"), "has a scheme"},
		{"S3 prefix without slash", s3("endpoint: h, bucket: b, prefix: x"), "run into the names"},
		{"half a pair of keys", s3("endpoint: h, bucket: b, access_key_file: x"), "one without the other"},
		{"two ways to get credentials", s3("endpoint: h, bucket: b, credentials_file: x, iam_role: {}"), "2 ways to get credentials"},
		{"a profile of no file", s3("endpoint: h, bucket: b, profile: x"), "is of no file"},
		{"web identity without token", s3("endpoint: h, bucket: b, web_identity: {role_arn: x}"), "web_identity.token_file: is missing"},
		{"STS that is no URL", s3("endpoint: h, bucket: b, web_identity: {token_file: x, sts_url: sts}"), "is not a URL"},
		{"unknown encryption", s3("endpoint: h, bucket: b, sse: rot13"), "no kind of encryption"},
		{"KMS without key", s3("endpoint: h, bucket: b, sse: kms"), "one without the other"},
		{"encryption over plain HTTP", s3("endpoint: h, bucket: b, sse: s3, insecure_plaintext: true"), "over plain HTTP"},
		{"authorities for plain HTTP", s3("endpoint: h, bucket: b, ca_file: x, insecure_plaintext: true"), "does not go with"},
		{"a lock that locks nothing", s3("endpoint: h, bucket: b, object_lock: {}"), "locks nothing"},
		{"a mode without a time", s3("endpoint: h, bucket: b, object_lock: {mode: governance}"), "without a time"},
		{"unknown mode of a lock", s3("endpoint: h, bucket: b, object_lock: {mode: hard, retain: 1h}"), "is no mode"},
		{"purged before the lock ends", strings.Replace(s3("endpoint: h, bucket: b, object_lock: {retain: 48h}"), "spool: spool", "spool: spool, retention: 24h", 1), "shorter than the lock"},
		{"retention of a minute", strings.Replace(good, "spool: spool", "spool: spool, retention: 1m", 1), "too short to be meant"},
		{"negative spool", strings.Replace(good, "spool: spool", "spool: spool, max_spool: -1", 1), "is negative"},
		{"figures for everybody", good + "metrics: {listen: '0.0.0.0:9464'}\n", "could read the figures"},
		{"a sink without a name", good + "events: [{stdout: true}]\n", "cannot be a sink's name"},
		{"sink twice", good + "events: [{name: a, stdout: true}, {name: a, stdout: true}]\n", "is there twice"},
		{"no sink", good + "events: [{name: a}]\n", "has 0 sinks"},
		{"two sinks in one", good + "events: [{name: a, stdout: true, file: x}]\n", "has 2 sinks"},
		{"syslog by pigeon", good + "events: [{name: a, syslog: {network: pigeon}}]\n", "is no network"},
		{"syslog in the open", good + "events: [{name: a, syslog: {network: udp, address: 'siem:514'}}]\n", "would show audit events"},
		{"syslog without port", good + "events: [{name: a, syslog: {network: tls, address: siem}}]\n", "is not an address"},
		{"syslog with half a pair", good + "events: [{name: a, syslog: {network: tls, address: 'siem:6514', tls_cert: x}}]\n", "one without the other"},
		{"a webhook in the open", good + "events: [{name: a, webhook: {url: 'http://siem', secret_file: x}}]\n", "http only on loopback"},
		{"a webhook that nothing signs", good + "events: [{name: a, webhook: {url: 'https://siem'}}]\n", "nobody could tell"},
		{"figures nowhere", good + "metrics: {listen: here}\n", "is not an address"},
		{"a pattern that does not compile", good + "masking: {patterns: [{name: x, regex: '('}]}\n", "does not compile"},
		{"token style without key", good + "masking: {style: token}\n", "needs a key"},
		{"token style for some without key", good + "masking: {styles: [{kind: agent, style: token}]}\n", "needs a key"},
		{"a style for some that is none", good + "masking: {styles: [{kind: agent, style: blur}]}\n", "is not a style"},
		{"a style for an unknown target", good + "masking: {styles: [{targets: [nowhere], style: last4}]}\n", "there is no target"},
		{"a style for an unknown kind", good + "masking: {styles: [{kind: robot, style: last4}]}\n", "no kind of identity"},
		{"empty", "", "gate.name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := write(t, tt.text)
			_, err := Load(file)
			if err == nil {
				t.Fatal("loaded")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error does not say %q:\n%v", tt.want, err)
			}
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, file+":") {
					t.Errorf("line does not begin with the file's name: %q", line)
				}
			}
		})
	}
}

func TestLoadNamesEveryProblem(t *testing.T) {
	_, err := Load(write(t, good+"targets:\n  - {name: a, kind: x}\n  - {name: b, kind: y}\n"))
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 2 {
		t.Fatalf("want two problems, got: %v", err)
	}
	var e *Error
	if !errors.As(joined.Unwrap()[1], &e) || e.Line != 11 {
		t.Errorf("second problem is at line %d, want 11", e.Line)
	}
}

func TestMerge(t *testing.T) {
	c, err := Load(write(t, good+"targets:\n  - {name: demo, kind: shell}\n"))
	if err != nil {
		t.Fatal(err)
	}
	part, err := LoadPart(write(t, "targets:\n  - {name: demo, kind: shell, description: mine}\n  - {name: more, kind: shell}\nusers:\n  - {name: zoe, groups: [users]}\nssh: {max_startups: 7}\nrecordings: {s3: {endpoint: 'h:9000', bucket: b}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	c.Merge(part)
	if len(c.Targets) != 2 || c.Targets[0].Description != "mine" || c.Targets[1].Name != "more" {
		t.Errorf("targets = %+v", c.Targets)
	}
	if c.SSH.MaxStartups != 7 || c.SSH.MaxStartupsPerSource != 20 {
		t.Errorf("limits = %+v, want only max_startups changed", c.SSH)
	}
	if c.Recordings.Directory != "" || c.Recordings.S3 == nil || c.Gate.Name != "gate.example.com" {
		t.Errorf("recordings = %+v, gate = %+v", c.Recordings, c.Gate)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

// The annotated example must load, and must name every key that there is.
func TestExampleIsWholeAndLoads(t *testing.T) {
	file := "../../../deploy/sallyport.yaml"
	if _, err := Load(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for key := range keys(reflect.TypeFor[Config](), map[string]bool{}) {
		if !strings.Contains(string(text), key+":") {
			t.Errorf("the example does not mention %q", key)
		}
	}
}
