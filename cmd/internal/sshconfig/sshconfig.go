// Package sshconfig writes the ssh_config(5) with which OpenSSH reaches a gate and what is behind it:
// for dev's users, and for `sallyport ssh-config`.
package sshconfig

import (
	"fmt"
	"regexp"
	"strings"
)

// A Config is one gate, and one user's way to it. Alias, Host, Port and the targets' names must be plain,
// which [Config.Check] tells; nothing else is quoted.
type Config struct {
	Comment string // the first line, without #
	Alias   string // what the gate is called on the command line
	Name    string // the name in the gate's host certificate; "": what Host says
	Host    string
	Port    string

	Key         string // file of the private key; "": what ssh-agent has
	Certificate string // file of its certificate; "": beside Key, where ssh looks by itself
	KnownHosts  string // file that alone is asked about hosts; "": the user's own
	Targets     []Target

	// Everywhere applies the options to every host, for a file that is given by -F and knows nothing else.
	Everywhere bool
}

// A Target is something behind the gate. Jump says that ProxyJump reaches it.
type Target struct {
	Name string
	Jump bool
}

var (
	plainName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`)
	plainHost = regexp.MustCompile(`^[A-Za-z0-9:]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9:])?$`)
	plainPort = regexp.MustCompile(`^[0-9]{1,5}$`)
)

// Check refuses what would mean something else to ssh than a name: patterns, options, further lines.
func (c Config) Check() error {
	switch {
	case !plainName.MatchString(c.Alias):
		return fmt.Errorf("%q cannot be an alias; use letters, digits, dots and hyphens", c.Alias)
	case c.Name != "" && !plainName.MatchString(c.Name):
		return fmt.Errorf("%q cannot be a gate's name; use letters, digits, dots and hyphens", c.Name)
	case !plainHost.MatchString(c.Host) || !plainPort.MatchString(c.Port):
		return fmt.Errorf("%q, port %q, is no address; write HOST:PORT", c.Host, c.Port)
	}
	for _, file := range []string{c.Key, c.Certificate, c.KnownHosts} {
		if strings.ContainsAny(file, "\"\n\r\x00") {
			return fmt.Errorf("%q cannot stand in an ssh_config", file)
		}
	}
	for _, t := range c.Targets {
		if !plainName.MatchString(t.Name) || t.Name == c.Alias {
			return fmt.Errorf("%q cannot be a target's name here; use letters, digits, dots and hyphens, and not the gate's own", t.Name)
		}
	}
	return nil
}

// String is the file. A target's alias is a user name at the gate; asked for with another login, as in
// `ssh root@web1`, it is the host itself, reached through the gate.
func (c Config) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", c.Comment)
	direct := fmt.Sprintf("  HostName %s\n  Port %s\n", c.Host, c.Port)
	if c.Name != "" {
		direct += fmt.Sprintf("  HostKeyAlias %s\n", c.Name)
	}
	fmt.Fprintf(&b, "Host %s\n  User gate\n%s", c.Alias, direct)
	all := []string{c.Alias}
	for _, t := range c.Targets {
		fmt.Fprintf(&b, "\nHost %[1]s\n  User %[1]s\nMatch originalhost %[1]s user %[1]s,*+%[1]s\n%[2]s", t.Name, direct)
		if t.Jump {
			fmt.Fprintf(&b, "Match originalhost %[1]s !user %[1]s,*+%[1]s\n  ProxyJump %[2]s\n", t.Name, c.Alias)
		}
		all = append(all, t.Name)
	}
	if c.Everywhere {
		all = []string{"*"}
	}
	fmt.Fprintf(&b, "\nHost %s\n", strings.Join(all, " "))
	for _, o := range c.options() {
		b.WriteString("  " + o + "\n")
	}
	return b.String()
}

// options are the lines that hold for the gate and everything behind it.
func (c Config) options() []string {
	var out []string
	if c.Key != "" {
		out = append(out, "IdentityFile "+quote(c.Key))
	}
	if c.Certificate != "" {
		out = append(out, "CertificateFile "+quote(c.Certificate))
	}
	if c.Key != "" {
		out = append(out, "IdentitiesOnly yes")
	}
	if c.KnownHosts != "" {
		out = append(out, "UserKnownHostsFile "+quote(c.KnownHosts), "GlobalKnownHostsFile none")
	}
	return append(out, "StrictHostKeyChecking yes", "UpdateHostKeys no", "PreferredAuthentications publickey",
		"SendEnv LANG LC_* SALLYPORT_JSON SALLYPORT_UNMASK SALLYPORT_REASON")
}

// quote writes a path for ssh_config, where % begins a token.
func quote(path string) string { return `"` + strings.ReplaceAll(path, "%", "%%") + `"` }
