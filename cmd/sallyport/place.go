package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport-ssh/sallyport/cmd/internal/config"
	"github.com/sallyport-ssh/sallyport/cmd/internal/daemon"
	"github.com/sallyport-ssh/sallyport/cmd/internal/dev"
	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// exitUsage is the status of a command that was asked for something that makes no sense, or that has no
// configuration to go by.
const exitUsage = 2

// exitHelp stands in the help of every command that looks into a gate's ledger or store.
const exitHelp = "Exit status: 0 done; 1 it failed, or there is no such thing; 2 wrong use, or the configuration cannot be read."

// defaultDir is what `sallyport dev` makes where nothing else is said.
const defaultDir = ".sallyport"

// placeFlags say which gate a command is about. The commands open its ledger and its store themselves:
// they work while the gate runs and while it does not.
type placeFlags struct {
	Config string `help:"The gate's configuration file." type:"path" xor:"place" placeholder:"FILE"`
	Dir    string `help:"What sallyport dev made. Default: .sallyport, if it is there." type:"path" xor:"place" placeholder:"DIR"`
}

// Help is the end of the help of every command with these flags.
func (placeFlags) Help() string { return exitHelp }

// A place is a gate's configuration and where it was found.
type place struct {
	config *config.Config
	dir    string // of sallyport dev, or ""
}

var errNoPlace = errors.New("which gate? name its configuration with --config FILE, or with --dir DIR what sallyport dev made")

// file is the configuration that the flags name; "" when they name none and there is no default.
func (f placeFlags) file() (file, dir string) {
	if f.Config != "" {
		return f.Config, ""
	}
	if f.Dir != "" {
		return filepath.Join(f.Dir, dev.ConfigFile), f.Dir
	}
	file = filepath.Join(defaultDir, dev.ConfigFile)
	if _, err := os.Stat(file); err != nil {
		return "", ""
	}
	return file, defaultDir
}

// open reads the configuration.
func (f placeFlags) open() (*place, error) {
	file, dir := f.file()
	if file == "" {
		return nil, &exitError{exitUsage, errNoPlace}
	}
	c, err := config.Load(file)
	if err != nil && dir != "" && errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s has no %s, which sallyport dev writes when it starts: start it once, or name another --dir", dir, dev.ConfigFile)
	}
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return &place{config: c, dir: dir}, nil
}

// openLedger opens the ledger that is there. It makes none: a wrong path must not look like a gate that
// never saw a session.
func (p *place) openLedger(ctx context.Context) (*ledger.Ledger, error) {
	if path, ok := strings.CutPrefix(p.config.Ledger.URL, "sqlite:"); ok {
		if _, err := os.Stat(path); err != nil {
			return nil, &exitError{exitUsage, fmt.Errorf("ledger: %w; has a gate run with this configuration?", err)}
		}
	}
	return ledger.Open(ctx, p.config.Ledger.URL)
}

// withLedger calls f with the ledger of the gate that the flags name.
func (f placeFlags) withLedger(ctx context.Context, do func(*place, *ledger.Ledger) error) error {
	p, err := f.open()
	if err != nil {
		return err
	}
	l, err := p.openLedger(ctx)
	if err != nil {
		return err
	}
	return errors.Join(do(p, l), l.Close())
}

// openLibrary opens the recordings. Roots may be nil: then recordings can be read, and not be told from
// somebody else's.
func (p *place) openLibrary(ctx context.Context, roots *x509.CertPool) (*replay.Library, func() error, error) {
	r := p.config.Recordings
	if r.Directory != "" {
		if _, err := os.Stat(r.Directory); err != nil {
			return nil, nil, &exitError{exitUsage, fmt.Errorf("recordings.directory: %w; has a gate run with this configuration?", err)}
		}
	}
	st, err := daemon.OpenStore(ctx, &r)
	if err != nil {
		return nil, nil, fmt.Errorf("recordings: %w", err)
	}
	closer := func() error { return nil }
	if c, ok := st.(io.Closer); ok {
		closer = c.Close
	}
	lib := &replay.Library{Spool: r.Spool, Store: st, Roots: roots}
	if _, err := os.Stat(r.Spool); errors.Is(err, fs.ErrNotExist) {
		lib.Spool = "" // a machine that reads the store of other gates has none
	}
	return lib, closer, nil
}

// recordRoot is the file of the certificate under which all recordings are signed. Its private key is not
// needed, and not looked at.
func (p *place) recordRoot() string { return filepath.Join(p.config.CA.Dir, "x509_root.crt") }

// An operator is who runs this program, as this machine knows them. They act on the ledger itself, which
// asks for no certificate, so that what they do is written down under the account they did it from.
type operator struct {
	key, name string
	detail    map[string]any
}

// whoRuns finds the operator. The login uid, which no later su or sudo changes, stands beside the account.
func whoRuns() operator {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	uid := strconv.Itoa(os.Getuid())
	name := "uid " + uid
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	o := operator{key: "os:" + host + "#" + uid, name: fmt.Sprintf("operator %s@%s", name, host), detail: map[string]any{"os_user": name, "uid": uid}}
	const unset = "4294967295"
	if b, err := os.ReadFile("/proc/self/loginuid"); err == nil && string(b) != unset && string(b) != uid {
		o.detail["login_uid"] = strings.TrimSpace(string(b))
	}
	return o
}

// audit writes down what the operator is about to do. What cannot be written down is not done.
func (p *place) audit(ctx context.Context, l *ledger.Ledger, e ledger.Event) error {
	o := whoRuns()
	e.At, e.Gate, e.Actor, e.ActorName, e.Source = time.Now(), p.config.Gate.Name, o.key, o.name, "local"
	detail := map[string]any{"via": "cli"}
	for _, m := range []map[string]any{o.detail, e.Detail} {
		for k, v := range m {
			detail[k] = v
		}
	}
	e.Detail = detail
	if err := l.AddAudit(ctx, e); err != nil {
		return fmt.Errorf("not done, because it could not be written down: %w", err)
	}
	return nil
}

var idForm = regexp.MustCompile(`^[0-9a-z]{6,40}$`)

// checkID refuses what cannot be the id of a session or a hold. List names the command that shows them.
func checkID(what, id, list string) error {
	if idForm.MatchString(id) {
		return nil
	}
	return &exitError{exitUsage, fmt.Errorf("%q cannot be the id of a %s: it has 6 to 40 of 0-9 and a-z; see sallyport %s", id, what, list)}
}

// sessionError says what to do about an error of looking for a session.
func sessionError(id string, err error) error {
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return fmt.Errorf("there is no session %s in this ledger; see sallyport sessions ls", id)
	case errors.Is(err, replay.ErrNoSession):
		return fmt.Errorf("session %s has no recording, neither in the spool nor in the store; see sallyport verify %s", id, id)
	}
	return err
}

// columns prints what write writes, aligned at its tabs.
func columns(w io.Writer, write func(io.Writer)) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	write(t)
	return t.Flush()
}

// show renders what a peer sent.
func show(text string) string { return policies.Render([]byte(text)) }

// shown passes on text that was rendered before it was stored. Should somebody else have written to the
// store, it does nothing to a terminal all the same.
func shown(text string) string {
	return strings.Map(func(r rune) rune {
		if acts(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(text, string(utf8.RuneError)))
}

func acts(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// plainJSON writes what would act on a terminal as \u escapes. JSON has such characters in strings alone,
// where an escape means the same.
func plainJSON(b []byte) []byte {
	var out bytes.Buffer
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r < utf8.RuneSelf && r != 0x7f || !acts(r):
			out.Write(b[:n])
		case r > 0xffff:
			hi, lo := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			fmt.Fprintf(&out, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
		b = b[n:]
	}
	return out.Bytes()
}

// parseSince reads a time, or how long ago it was.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02", "2006-01-02 15:04", "2006-01-02T15:04"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, &exitError{exitUsage, fmt.Errorf("--since %q is no time; write 90m, 7d, 2026-01-31, 2026-01-31T15:04 or the same with a zone", s)}
}

// names is the resolver of a configuration: its users and targets by the names they have there.
type names struct{ c *config.Config }

// Target finds a target.
func (n names) Target(name string) (policies.Target, bool) {
	for _, t := range n.c.Targets {
		if t.Name == name {
			return policies.Target{Name: t.Name, Kind: t.Kind, Labels: t.Labels}, true
		}
	}
	return policies.Target{}, false
}

// Identity finds a user, as the gate would see them if their token said no more than the configuration.
func (n names) Identity(name string) (policies.Principal, bool) { return n.identity(name, 8) }

func (n names) identity(name string, depth int) (policies.Principal, bool) {
	for _, u := range n.c.Users {
		if u.Name != name || depth == 0 {
			continue
		}
		p := policies.Principal{Key: n.key(u), Name: u.Name, Email: u.Email, Kind: u.Kind, Groups: u.Groups}
		if p.Kind == "" {
			p.Kind = policies.Human
			if is := n.c.Issuer(u.Issuer); is != nil {
				p.Kind = is.Kind
			}
		}
		if u.OnBehalfOf != "" {
			of, ok := n.identity(u.OnBehalfOf, depth-1)
			if !ok {
				return policies.Principal{}, false
			}
			p.OnBehalfOf = &of
		}
		return p, true
	}
	return policies.Principal{}, false
}

// key is issuer#subject. Where an e-mail identifies the user, the subject is not known before they come,
// and the name stands for it.
func (n names) key(u config.User) string {
	issuer, subject := u.Issuer, u.Subject
	if issuer == "" {
		issuer = n.c.Console.Issuer
	}
	if subject == "" {
		subject = u.Name
	}
	return issuer + "#" + subject
}
