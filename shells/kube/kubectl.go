package kube

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"

	"github.com/sallyport-ssh/sallyport/shells"
	"github.com/sallyport-ssh/sallyport/shells/local"
)

// Places in the sandbox.
const (
	insideSockets = "/run/sallyport/api"     // a directory for each session, which nobody can list
	insideRelay   = "/run/sallyport/relay"   // this program
	insideKubectl = "/run/sallyport/kubectl" // the real one
)

// A box runs the real kubectl in a sandbox that has nothing of the gate's but a socket to this proxy.
type box struct {
	t     *Target
	dir   string
	shell *local.Local
}

// UseKubectl makes t run the kubectl at path for sessions that ask for commands.
func (t *Target) UseKubectl(path string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sallyport-kube")
	if err == nil {
		err = os.Chmod(dir, 0o711) // names in it are random: a session finds its own socket, and no other
	}
	if err != nil {
		return err
	}
	b := &box{t: t, dir: dir}
	relay := []string{insideRelay, relayWord}
	b.shell, err = local.New(local.Config{
		Name: t.c.Name, User: "kubectl", Shell: relay, Exec: relay, Limits: local.Limits{Tmp: 64 << 20},
		Binds: []local.Bind{
			{Source: dir, Dest: insideSockets}, {Source: self, Dest: insideRelay}, {Source: path, Dest: insideKubectl},
		},
	})
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	t.box = b
	return nil
}

func (b *box) close() {
	_ = b.shell.Close()
	_ = os.RemoveAll(b.dir)
}

// Kubectl returns what opens sessions of kubectl, of which s decides on every request; nil where there is none.
func (t *Target) Kubectl(id Identity, s Session) shells.Opener {
	if t.box == nil {
		return nil
	}
	return &opener{t.box, id, s}
}

type opener struct {
	box *box
	id  Identity
	s   Session
}

// Guard says nothing of a shell: each request is decided on.
func (o *opener) Guard() string { return "n/a" }

// Open starts kubectl, and a socket that only it can find.
func (o *opener) Open(ctx context.Context, r shells.Request) (shells.Process, error) {
	var words []string
	switch r.Kind {
	case shells.Subsystem:
		return nil, &local.Error{Public: "a cluster has no subsystems"}
	case shells.Exec:
		var err error
		if words, err = split(r.Command); err != nil {
			return nil, err
		}
	}
	argv, err := json.Marshal(words)
	if err != nil {
		return nil, err
	}
	c, name, err := local.NewClient(ctx, o.box.dir, "s", maxConns, func(ctx context.Context, c net.Conn) {
		_ = o.box.t.Serve(ctx, c, o.id, o.s) // the end of ctx, which is kubectl's
	})
	if err != nil {
		return nil, err
	}
	r.Command, r.Login = string(argv), ""
	r.Env = append(withoutKube(r.Env), socketEnv+"="+insideSockets+"/"+name+"/s")
	return c.Start(o.box.shell, r)
}

// withoutKube takes away what the client may not say to kubectl.
func withoutKube(env []string) []string {
	var out []string
	for _, e := range env {
		if !strings.HasPrefix(e, "KUBE") && !strings.HasPrefix(e, socketEnv) {
			out = append(out, e)
		}
	}
	return out
}

// split makes words of a command line. Nothing is expanded and nothing is piped: there is no shell.
func split(command string) ([]string, error) {
	refused := &local.Error{Public: "write one kubectl command, such as: get pods -n web; there is no shell here that pipes or expands"}
	f, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(command), "")
	if err != nil || len(f.Stmts) != 1 {
		return nil, refused
	}
	call, ok := f.Stmts[0].Cmd.(*syntax.CallExpr)
	if !ok || len(call.Assigns) > 0 || len(f.Stmts[0].Redirs) > 0 || f.Stmts[0].Background || f.Stmts[0].Negated {
		return nil, refused
	}
	var words []string
	for _, w := range call.Args {
		if !literal(w) {
			return nil, refused
		}
		text, err := expand.Literal(&expand.Config{Env: expand.ListEnviron()}, w)
		if err != nil {
			return nil, refused
		}
		words = append(words, text)
	}
	if words[0] == "kubectl" {
		words = words[1:]
	}
	return words, nil
}

// literal says whether w is what it says.
func literal(w *syntax.Word) bool {
	plain := true
	syntax.Walk(w, func(n syntax.Node) bool {
		switch n.(type) {
		case *syntax.ParamExp, *syntax.CmdSubst, *syntax.ArithmExp, *syntax.ProcSubst, *syntax.ExtGlob, *syntax.BraceExp:
			plain = false
		}
		return plain
	})
	return plain
}

// maxConns is how many connections one kubectl may have at a time.
const maxConns = 16
