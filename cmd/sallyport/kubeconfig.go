package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
	"golang.org/x/crypto/ssh"
)

// tunnelFlags say which cluster, and where on this machine it is reached.
type tunnelFlags struct {
	gateFlags
	Port   uint16 `help:"Port of this machine where the cluster is reached." default:"16443"`
	Target string `arg:"" help:"Name of a Kubernetes target."`
}

type kubeconfigCmd struct {
	tunnelFlags
	Out string `short:"o" help:"File to write, for you alone to read. Default: print." type:"path" placeholder:"FILE"`
}

// Help is the end of the command's help.
func (*kubeconfigCmd) Help() string {
	return "Prints what kubectl, helm and other clients need to reach a cluster through the gate. With it they start a tunnel by themselves, " +
		"which ends with your certificate, with the gate, or after half an hour without use. " + exitHelp
}

// Run asks the gate, so that what is printed is what the gate's certificate will say.
func (c *kubeconfigCmd) Run(ctx context.Context, k *kong.Context) error {
	a, err := c.ask(ctx, "kubeconfig "+c.Target+" "+strconv.Itoa(int(c.Port)), nil)
	if perr := pass(k.Stderr, a.stderr.b, false); perr != nil || err != nil {
		return errors.Join(err, perr)
	}
	text, err := c.withTunnel(a.stdout.b)
	if err != nil {
		return err
	}
	if c.Out == "" {
		_, err = k.Stdout.Write(text)
		return err
	}
	f, err := os.OpenFile(c.Out, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// withTunnel makes a kubeconfig of the gate's one that starts this program where a credential would be fetched
// (client.authentication.k8s.io/v1).
func (c *kubeconfigCmd) withTunnel(text []byte) ([]byte, error) {
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil || config["kind"] != "Config" {
		return nil, errors.New("the gate's answer is no kubeconfig; is it of the same version?")
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := append([]string{"kube-tunnel"}, c.args()...)
	config["users"] = []any{map[string]any{"name": c.Target, "user": map[string]any{"exec": map[string]any{
		"apiVersion": "client.authentication.k8s.io/v1", "command": self, "args": args, "interactiveMode": "Never",
	}}}}
	out, err := yaml.Marshal(config)
	return append([]byte("# Written by `sallyport kubeconfig`. It holds no secret: the tunnel proves who you are.\n"), out...), err
}

// args are the flags that lead to the same gate from any directory.
func (f *tunnelFlags) args() []string {
	args := []string{"--port", strconv.Itoa(int(f.Port))}
	file, dir := f.file()
	switch {
	case dir != "":
		f.Dir = dir
	case file != "":
		f.Config = file
	}
	for _, x := range []struct {
		flag, value string
		path        bool
	}{
		{"--config", f.Config, true}, {"--dir", f.Dir, true}, {"--identity", f.Identity, false}, {"--key", f.Key, true},
		{"--gate", f.Gate, false}, {"--known-hosts", f.KnownHosts, true},
	} {
		if x.value == "" {
			continue
		}
		if abs, err := filepath.Abs(x.value); x.path && err == nil {
			x.value = abs
		}
		args = append(args, x.flag, x.value)
	}
	return append(args, f.Target)
}

// kubeTunnelCmd is what kubectl runs before its first request.
type kubeTunnelCmd struct {
	tunnelFlags
	Serve bool          `help:"Be the tunnel, on the listener that was inherited." hidden:""`
	Idle  time.Duration `help:"How long an unused tunnel stays." default:"30m"`
}

// Run sees to it that there is a tunnel, and prints the credential that kubectl waits for: one that is worth nothing.
func (c *kubeTunnelCmd) Run(ctx context.Context, k *kong.Context) error {
	if c.Serve {
		return c.serve(ctx)
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(c.Port))))
	switch {
	case errors.Is(err, syscall.EADDRINUSE): // it is there; should it be somebody else's, it cannot prove the target's name
	case err != nil:
		return err
	default:
		if err := errors.Join(c.start(ctx, l.(*net.TCPListener)), l.Close()); err != nil {
			return err
		}
	}
	return json.NewEncoder(k.Stdout).Encode(map[string]any{
		"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": map[string]any{"token": "none-needed"},
	})
}

// start begins a tunnel that outlives this program. That the gate lets it in is tried here, where somebody reads what is
// wrong.
func (c *kubeTunnelCmd) start(ctx context.Context, l *net.TCPListener) error {
	client, err := c.dial(ctx)
	if err != nil {
		return err
	}
	if err := client.Close(); err != nil {
		return err
	}
	file, err := l.File()
	if err != nil {
		return err
	}
	defer file.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	tunnel := exec.Command(self, append([]string{"kube-tunnel", "--serve", "--idle", c.Idle.String()}, c.args()...)...)
	tunnel.ExtraFiles = []*os.File{file}
	tunnel.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	tunnel.Dir = "/"
	if err := tunnel.Start(); err != nil {
		return err
	}
	return tunnel.Process.Release()
}

// serve passes connections on until the gate ends the one to it, or nobody has used it for a while.
func (c *kubeTunnelCmd) serve(ctx context.Context) error {
	file := os.NewFile(3, "listener")
	l, err := net.FileListener(file)
	if err != nil {
		return fmt.Errorf("kube-tunnel --serve is started by kube-tunnel: %w", err)
	}
	_ = file.Close()
	defer l.Close()
	client, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { _ = client.Wait(); cancel() }() // ends with client
	stop := context.AfterFunc(ctx, func() { l.Close(); client.Close() })
	defer stop()
	t := &tunnel{client: client, to: net.JoinHostPort(c.Target, "443"), idle: c.Idle}
	t.unused = time.AfterFunc(c.Idle, cancel)
	defer t.wg.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return nil
		}
		t.wg.Go(func() { t.pass(conn) })
	}
}

// A tunnel passes connections to a target.
type tunnel struct {
	client *ssh.Client
	to     string
	idle   time.Duration
	wg     sync.WaitGroup

	mu     sync.Mutex
	open   int
	unused *time.Timer // runs while none is open
}

// use counts what is open.
func (t *tunnel) use(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open += n; t.open > 0 {
		t.unused.Stop()
		return
	}
	t.unused.Reset(t.idle)
}

func (t *tunnel) pass(conn net.Conn) {
	defer conn.Close()
	t.use(1)
	defer t.use(-1)
	up, err := t.client.Dial("tcp", t.to)
	if err != nil {
		return
	}
	defer up.Close()
	t.wg.Go(func() {
		_, _ = io.Copy(up, conn)
		up.Close()
	})
	_, _ = io.Copy(conn, up)
}
