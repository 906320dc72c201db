package kube

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

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
	name := strings.ToLower(rand.Text())
	dir := filepath.Join(o.box.dir, name)
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
		return nil, err
	}
	p := &running{dir: dir}
	path := filepath.Join(dir, "s")
	if p.listener, err = net.Listen("unix", path); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("socket for kubectl: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		p.close()
		return nil, err
	}
	r.Command, r.Login = string(argv), ""
	r.Env = append(withoutKube(r.Env), socketEnv+"="+insideSockets+"/"+name+"/s")
	ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	p.wg.Go(func() { p.serve(ctx, o) })
	if p.Process, err = o.box.shell.Open(ctx, r); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
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

// running is kubectl and the connections that it makes.
type running struct {
	shells.Process
	listener net.Listener
	dir      string
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	once     sync.Once
}

func (p *running) serve(ctx context.Context, o *opener) {
	places := make(chan struct{}, maxConns)
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		select {
		case places <- struct{}{}:
		default:
			c.Close()
			continue
		}
		p.wg.Go(func() {
			defer func() { <-places }()
			_ = o.box.t.Serve(ctx, c, o.id, o.s) // an end of ctx, which is the session's
		})
	}
}

// Close ends kubectl and its connections.
func (p *running) Close() error {
	err := p.Process.Close()
	p.close()
	return err
}

// Wait also waits for the connections, so that their last operations are in the record.
func (p *running) Wait(ctx context.Context) (shells.Exit, error) {
	e, err := p.Process.Wait(ctx)
	p.close()
	return e, err
}

func (p *running) close() {
	p.once.Do(func() {
		p.listener.Close()
		if p.cancel != nil {
			p.cancel()
		}
		p.wg.Wait()
		os.RemoveAll(p.dir)
	})
}
