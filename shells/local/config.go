package local

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

var (
	hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$`)
	userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,30}$`)
	envName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
)

// withDefaults fills in and checks.
func (c Config) withDefaults() (Config, error) {
	c.fill()
	switch {
	case !hostName.MatchString(c.Name):
		return c, fmt.Errorf("name: want letters, digits, - and ., as a host name")
	case !userName.MatchString(c.User):
		return c, fmt.Errorf("user %q: want a lower-case Unix user name", c.User)
	case c.User == "root":
		return c, fmt.Errorf("user: a sandbox has no root")
	case c.HostUID < 1000 || c.HostGID < 1000:
		return c, fmt.Errorf("host uid %d, gid %d: want ids of an ordinary user, 1000 or above", c.HostUID, c.HostGID)
	case !cleanAbs(c.Home) || c.Home == "/" || !cleanAbs(c.Dir):
		return c, fmt.Errorf("home %q, dir %q: want clean absolute paths", c.Home, c.Dir)
	}
	for _, argv := range [][]string{c.Shell, c.Exec} {
		if !cleanAbs(argv[0]) || strings.Contains(argv[0], "=") {
			return c, fmt.Errorf("shell %q: want an absolute path without =", argv[0])
		}
	}
	for i, b := range c.Binds {
		if err := b.check(); err != nil {
			return c, fmt.Errorf("bind %d: %w", i+1, err)
		}
	}
	for _, e := range c.Env {
		name, _, ok := strings.Cut(e, "=")
		if !ok || !envName.MatchString(name) || strings.ContainsRune(e, 0) {
			return c, fmt.Errorf("env %q: want NAME=value", name)
		}
	}
	return c, nil
}

func (c *Config) fill() {
	set := func(s *string, def string) {
		if *s == "" {
			*s = def
		}
	}
	set(&c.User, "user")
	set(&c.Home, "/home/"+c.User)
	set(&c.Dir, c.Home)
	set(&c.Path, "/usr/local/bin:/usr/bin:/bin")
	set(&c.SFTPServer, "/usr/lib/openssh/sftp-server")
	num := func(n *uint64, def uint64) {
		if *n == 0 {
			*n = def
		}
	}
	num(&c.Limits.Processes, 512)
	num(&c.Limits.OpenFiles, 4096)
	num(&c.Limits.Tmp, 256<<20)
	if len(c.Shell) == 0 {
		c.Shell = []string{"/bin/bash"}
	}
	if len(c.Exec) == 0 {
		// Neither file of the user's runs: what was admitted is all that runs. bash would read ~/.bashrc
		// for a command when it believes that sshd started it.
		c.Exec = []string{"/bin/bash", "--norc", "--noprofile", "-c"}
	}
	if c.HostUID == 0 {
		c.HostUID = DefaultHostUID
	}
	if c.HostGID == 0 {
		c.HostGID = c.HostUID
	}
	if c.Linger <= 0 {
		c.Linger = 500 * time.Millisecond
	}
	if c.StartTimeout <= 0 {
		c.StartTimeout = 10 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

func cleanAbs(p string) bool {
	return filepath.IsAbs(p) && filepath.Clean(p) == p && !strings.ContainsRune(p, 0)
}

// reserved are places inside that the sandbox makes itself.
var reserved = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/proc", "/dev", "/sys"}

func (b Bind) check() error {
	if !cleanAbs(b.Source) || !cleanAbs(b.Dest) || b.Dest == "/" {
		return fmt.Errorf("source %q, dest %q: want clean absolute paths, and not / as dest", b.Source, b.Dest)
	}
	if b.Chown && strings.Count(b.Source, "/") < 2 {
		return fmt.Errorf("source %s: chown is for a directory of its own, not for a top-level one", b.Source)
	}
	for _, r := range reserved {
		inside := b.Dest == r || strings.HasPrefix(b.Dest, r+"/")
		if inside && (b.RW || r == "/proc" || r == "/dev" || b.Dest == r) {
			return fmt.Errorf("dest %s: %s belongs to the sandbox; only read-only binds below /usr and /etc are possible there", b.Dest, r)
		}
	}
	return nil
}
