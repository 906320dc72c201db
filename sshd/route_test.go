package sshd

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/sallyport-ssh/sallyport/policies"
)

func testDirectory() *Directory {
	d := new(Directory)
	named := func(name, kind string) policies.Target { return policies.Target{Name: name, Kind: kind} }
	d.Set([]*Target{
		{Target: named("demo", "shell"), Login: "demo"},
		{Target: named("web1", "ssh"), Address: "10.0.0.5:2022", Login: "root"},
		{Target: named("db.prod", "ssh"), Address: "10.0.0.6:22", Login: "deploy", Logins: []string{"deploy", "backup"}},
		{Target: named("nodefault", "ssh"), Address: "10.0.0.7:22"},
		{Target: named("raw", "tcp"), Address: "10.0.0.8:5432", Dial: func(context.Context) (net.Conn, error) { return nil, nil }},
	})
	return d
}

func TestRouteUser(t *testing.T) {
	d := testDirectory()
	for _, tt := range []struct{ user, target, login, err string }{
		{"demo", "demo", "demo", ""},
		{"web1", "web1", "root", ""},
		{"deploy+web1", "web1", "deploy", ""},
		{"a+b+web1", "web1", "a+b", ""},
		{"backup+db.prod", "db.prod", "backup", ""},
		{"root+db.prod", "", "", `has no login "root"`},
		{"+web1", "", "", "names no login"},
		{"nodefault", "", "", "cannot be a login"},
		{"ops+nodefault", "nodefault", "ops", ""},
		{"mallory", "", "", "there is no target"},
		{"", "", "", "there is no target"},
		{"WEB1", "", "", "there is no target"},
		{"a,b+web1", "", "", "cannot be a login"},
		{"-oProxyCommand=x+web1", "", "", "cannot be a login"},
		{"../x+web1", "", "", "cannot be a login"},
		{"a b+web1", "", "", "cannot be a login"},
		{strings.Repeat("x", 65) + "+web1", "", "", "cannot be a login"},
	} {
		t.Run(tt.user, func(t *testing.T) {
			r, err := d.routeUser(tt.user)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if r.target.Name != tt.target || r.login != tt.login {
				t.Errorf("went to %s as %q, want %s as %q", r.target.Name, r.login, tt.target, tt.login)
			}
		})
	}
	if r, err := d.routeUser("gate"); err != nil || r.target != nil {
		t.Errorf("gate: %+v, %v; want the gate itself", r, err)
	}
}

// No spelling of an address may reach what was not declared, above all not the metadata service and not
// the gate's own ports.
func TestRouteForward(t *testing.T) {
	d := testDirectory()
	for _, tt := range []struct {
		host   string
		port   uint32
		target string // "": refused
	}{
		{"web1", 22, "web1"},
		{"WEB1", 22, "web1"},
		{"web1", 2022, "web1"},
		{"10.0.0.5", 2022, "web1"},
		{"demo", 22, "demo"},
		{"raw", 5432, "raw"},
		{"10.0.0.8", 5432, "raw"},
		{"raw", 22, ""},
		{"web1", 80, ""},
		{"10.0.0.5", 22, ""},
		{"demo", 2222, ""},
		{"gate", 22, ""},
		{"127.0.0.1", 2222, ""},
		{"localhost", 8022, ""},
		{"::ffff:10.0.0.5", 2022, ""},
		{"167772165", 2022, ""},
		{"10.0.0.5.", 2022, ""},
		{"010.0.0.5", 2022, ""},
		{"169.254.169.254", 80, ""},
		{"[::ffff:a9fe:a9fe]", 80, ""},
		{"", 22, ""},
		{"*", 22, ""},
	} {
		got, err := d.routeForward(tt.host, tt.port)
		switch {
		case tt.target == "" && err == nil:
			t.Errorf("%s:%d reached %s, want a refusal", tt.host, tt.port, got.Name)
		case tt.target != "" && (err != nil || got.Name != tt.target):
			t.Errorf("%s:%d: %v, %v; want %s", tt.host, tt.port, got, err, tt.target)
		}
	}
}
