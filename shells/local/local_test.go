package local

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/shells"
)

// newLocal is a target for one test.
func newLocal(t testing.TB, c Config) *Local {
	t.Helper()
	if c.Name == "" {
		c.Name = "demo"
	}
	l, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

type result struct {
	out, err string
	exit     shells.Exit
}

// run runs a session to its end.
func run(t testing.TB, l *Local, r shells.Request, stdin io.Reader) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	p, err := l.Open(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	stop := context.AfterFunc(ctx, func() { p.Close() })
	defer stop()
	var out, errs bytes.Buffer
	var wg sync.WaitGroup
	wg.Go(func() {
		if stdin != nil {
			io.Copy(p.Stdin(), stdin)
		}
		p.Stdin().Close()
	})
	wg.Go(func() { io.Copy(&out, p.Stdout()) })
	if e := p.Stderr(); e != nil {
		wg.Go(func() { io.Copy(&errs, e) })
	}
	wg.Wait()
	exit, err := p.Wait(ctx)
	if err != nil {
		t.Fatalf("Wait: %v (stdout %q, stderr %q)", err, out.String(), errs.String())
	}
	return result{out.String(), errs.String(), exit}
}

func command(c string) shells.Request { return shells.Request{Kind: shells.Exec, Command: c} }

func TestTry(t *testing.T) {
	l := newLocal(t, Config{})
	r := run(t, l, command(`id; ls -la / /etc /dev /proc/self/fd; cat /proc/self/status | egrep "Cap|NoNew|Uid|Groups"; ps axu; mount; ulimit -a; echo err >&2; env; pwd; ls -la ~; kill -9 $$`), nil)
	t.Log(r.out, r.err, r.exit)
	r = run(t, l, shells.Request{Kind: shells.Exec, Command: `tty; stty -a; ls -la /dev/console; ls -l /proc/self/fd; exit 137`, Pty: &shells.Pty{Term: "xterm", Cols: 80, Rows: 24}}, nil)
	t.Log(r.out, r.err, r.exit)
	now := time.Now()
	for range 20 {
		run(t, l, command("true"), nil)
	}
	t.Log(time.Since(now) / 20)
}
