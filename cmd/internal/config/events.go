package config

import (
	"fmt"
	"net"
	"net/url"
)

func (e *Events) paths(change func(*string)) {
	change(&e.File)
	if s := e.Syslog; s != nil {
		change(&s.CAFile)
		change(&s.TLSCert)
		change(&s.TLSKey)
	}
	if w := e.Webhook; w != nil {
		change(&w.SecretFile)
		change(&w.CAFile)
	}
}

func (c *Config) validateEvents() []problem {
	var p problems
	seen := map[string]bool{}
	for i, e := range c.Events {
		at := fmt.Sprintf("$.events[%d]", i)
		switch {
		case !validName.MatchString(e.Name):
			p.add(at+".name", "use lower-case letters, digits, dots and hyphens", "%q cannot be a sink's name", e.Name)
		case seen[e.Name]:
			p.add(at+".name", "remove one of them", "sink %q is there twice", e.Name)
		}
		seen[e.Name] = true
		p = append(p, e.validate(at)...)
	}
	return p
}

func (e *Events) validate(at string) []problem {
	var p problems
	sinks := 0
	for _, given := range []bool{e.File != "", e.Stdout, e.Syslog != nil, e.Webhook != nil} {
		if given {
			sinks++
		}
	}
	if sinks != 1 {
		p.add(at, "give one of file, stdout, syslog and webhook", "has %d sinks", sinks)
	}
	if e.Syslog != nil {
		p = append(p, e.Syslog.validate(at+".syslog")...)
	}
	if w := e.Webhook; w != nil {
		u, err := url.Parse(w.URL)
		if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
			p.add(at+".webhook.url", "write https://...; http only on loopback", "is no URL to send audit events to")
		}
		if w.SecretFile == "" {
			p.add(at+".webhook.secret_file", "name a file with at least 16 random bytes; the receiver has the same", "is missing: nobody could tell our requests from others")
		}
	}
	return p
}

func (s *Syslog) validate(at string) []problem {
	var p problems
	switch s.Network {
	case "tcp", "tls", "udp":
		p = append(p, validAddress(at+".address", s.Address)...)
	case "unix":
		if s.Address == "" {
			p.add(at+".address", "write the path of the socket, such as /dev/log", "is missing")
		}
	default:
		p.add(at+".network", `write "tls", "tcp", "udp" or "unix"`, "%q is no network", s.Network)
	}
	if host, _, err := net.SplitHostPort(s.Address); err == nil && (s.Network == "tcp" || s.Network == "udp") && !isLoopback(host) {
		p.add(at+".network", `write "tls", or send to a relay on 127.0.0.1`, "%s would show audit events to the network", s.Network)
	}
	if s.Network != "tls" && (s.CAFile != "" || s.TLSCert != "") {
		p.add(at+".network", `write "tls", or take ca_file and tls_cert away`, "%q has no certificates", s.Network)
	}
	if (s.TLSCert == "") != (s.TLSKey == "") {
		p.add(at+".tls_cert", "give both tls_cert and tls_key", "one without the other")
	}
	return p
}
