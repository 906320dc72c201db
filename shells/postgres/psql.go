package postgres

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"

	"github.com/sallyport-ssh/sallyport/shells"
	"github.com/sallyport-ssh/sallyport/shells/local"
)

// psqlBox runs the real psql in a sandbox that has nothing of the gate's but a socket to this proxy.
type psqlBox struct {
	t     *Target
	dir   string // with a directory for each session, which nobody can list
	shell *local.Local
}

// socketDir is where dir is shown in the sandbox.
const socketDir = "/run/postgresql"

// psqlPath finds PostgreSQL's own client: the one in /usr/bin is a wrapper that looks for clusters.
func psqlPath() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/psql")
	best := ""
	for _, f := range found {
		if len(f) > len(best) || len(f) == len(best) && f > best {
			best = f
		}
	}
	if best == "" {
		return "", errors.New("psql is not installed: apt-get install postgresql-client")
	}
	return best, nil
}

func newPsql(t *Target) (*psqlBox, error) {
	psql, err := psqlPath()
	if err != nil {
		return nil, err
	}
	// Short, because the path of a socket is. Names in it cannot be listed and are random: a session finds
	// its own socket, and no other.
	dir, err := os.MkdirTemp("", "sallyport-psql")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		return nil, err
	}
	p := &psqlBox{t: t, dir: dir}
	c := local.Config{
		Name: t.c.Name, User: "psql", Log: t.c.Log, Limits: local.Limits{Tmp: 16 << 20},
		Binds: []local.Bind{{Source: dir, Dest: socketDir}},
		Env:   []string{"PGUSER=" + t.c.Logins[0], "PGDATABASE=" + t.c.Databases[0], "PGSSLMODE=disable", "PGGSSENCMODE=disable", "PSQLRC=/dev/null", "PAGER=less", "LESS=-iMSx4 -FX -R"},
	}
	c.Shell, c.Exec = []string{psql, "--no-psqlrc"}, []string{psql, "--no-psqlrc", "-c"}
	if p.shell, err = local.New(c); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return p, nil
}

func (p *psqlBox) close() error { return errors.Join(p.shell.Close(), os.RemoveAll(p.dir)) }

// Psql returns what opens sessions of psql that g decides on; nil where psql is not to be had.
func (t *Target) Psql(g func() Guard) shells.Opener {
	if t.psql == nil {
		return nil
	}
	return &psqlOpener{t.psql, g}
}

type psqlOpener struct {
	box   *psqlBox
	guard func() Guard
}

// Guard says nothing of a shell: each statement is decided on.
func (o *psqlOpener) Guard() string { return "n/a" }

// Open starts psql, and a socket that only it can find.
func (o *psqlOpener) Open(ctx context.Context, r shells.Request) (shells.Process, error) {
	if r.Kind == shells.Subsystem {
		return nil, &local.Error{Public: "a database has no subsystems"}
	}
	if r.Kind == shells.Exec {
		text, err := commandText(r.Command)
		if err != nil {
			return nil, err
		}
		r.Command = text
	}
	c, name, err := local.NewClient(ctx, o.box.dir, ".s.PGSQL.5432", maxPsqlConns, o.serve)
	if err != nil {
		return nil, err
	}
	r.Env = append(pgEnv(r.Env), "PGHOST="+socketDir+"/"+name)
	if r.Login != "" {
		r.Env = append(r.Env, "PGUSER="+r.Login)
	}
	r.Login = ""
	return c.Start(o.box.shell, r)
}

func (o *psqlOpener) serve(ctx context.Context, c net.Conn) {
	if err := o.box.t.Serve(ctx, c, o.guard()); err != nil && ctx.Err() == nil {
		o.box.t.c.Log.Info("psql's connection ended", "target", o.box.t.c.Name, "reason", err.Error())
	}
}

// pgEnv takes away what the client may not say to psql.
func pgEnv(env []string) []string {
	var out []string
	for _, e := range env {
		if !strings.HasPrefix(e, "PG") && !strings.HasPrefix(e, "PSQL") {
			out = append(out, e)
		}
	}
	return out
}

// maxPsqlConns is how many connections one psql may have: \c keeps the old one until the new one stands.
const maxPsqlConns = 4

// commandText is the SQL of `ssh db COMMAND`: the command itself, or what follows psql and -c in it. As ssh
// joins the words of a command with spaces, what follows -c without quotes is taken as it stands.
func commandText(command string) (string, error) {
	text := strings.TrimSpace(command)
	if rest, ok := strings.CutPrefix(text, "psql "); ok {
		text = strings.TrimSpace(rest)
	}
	rest, ok := strings.CutPrefix(text, "-c")
	if !ok || rest == "" || rest[0] != ' ' && rest[0] != '\'' && rest[0] != '"' {
		if strings.HasPrefix(text, "-") && !strings.HasPrefix(text, "--") {
			return "", &local.Error{Public: "of psql's options only -c is known here; give the SQL itself, or standard input"}
		}
		return text, nil
	}
	rest = strings.TrimSpace(rest)
	if words, ok := oneWord(rest); ok {
		return words, nil
	}
	return rest, nil
}

// oneWord unquotes text when it is one quoted word of a shell and nothing else.
func oneWord(text string) (string, bool) {
	if text == "" || text[0] != '\'' && text[0] != '"' {
		return "", false
	}
	f, err := syntax.NewParser().Parse(strings.NewReader(text), "")
	if err != nil || len(f.Stmts) != 1 {
		return "", false
	}
	call, ok := f.Stmts[0].Cmd.(*syntax.CallExpr)
	if !ok || len(call.Args) != 1 || len(call.Assigns) > 0 || len(f.Stmts[0].Redirs) > 0 {
		return "", false
	}
	s, err := expand.Literal(&expand.Config{Env: expand.ListEnviron()}, call.Args[0])
	return s, err == nil
}
