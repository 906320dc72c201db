package kube

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/kube"
	"github.com/sallyport-ssh/sallyport/filters/mask"
	"github.com/sallyport-ssh/sallyport/shells/kube/throwaway"
)

var cluster *throwaway.Server

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "kube")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		if cluster, err = throwaway.Start(context.Background(), dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer cluster.Stop()
		return m.Run()
	}())
}

// witness is a session that remembers.
type witness struct {
	engine *mask.Engine
	admit  func(r *kube.Request, shown func(context.Context) string) error

	mu     sync.Mutex
	asked  []*kube.Request
	done   []Done
	text   bytes.Buffer
	output bytes.Buffer
	sizes  []string
	status []*int
	masked []string
}

func (w *witness) Admit(ctx context.Context, r *kube.Request, shown func(context.Context) string) error {
	w.mu.Lock()
	w.asked = append(w.asked, r)
	admit := w.admit
	w.mu.Unlock()
	if admit == nil {
		return nil
	}
	return admit(r, shown)
}

// decide makes f the one who decides.
func (w *witness) decide(f func(r *kube.Request, shown func(context.Context) string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.admit = f
}

func (w *witness) Record(p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p)
	return nil
}

func (w *witness) Done(r *kube.Request, d Done) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = append(w.done, d)
	return nil
}

func (w *witness) Masks(*kube.Request) (*mask.Engine, mask.StreamOptions) {
	return w.engine, mask.StreamOptions{}
}

func (w *witness) Masked(detector string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.masked = append(w.masked, detector)
}

func (w *witness) Terminal(ctx context.Context, _ *kube.Request, to Streams, run func(context.Context, Terminal) (*int, error)) error {
	t := &testTerminal{witness: w, to: to}
	for i, client := range []io.Writer{to.Stdout, to.Stderr} {
		t.outs[i] = newMasked(w.engine, mask.StreamOptions{}, w.Masked, func(p []byte) error {
			w.mu.Lock()
			w.output.Write(p)
			w.mu.Unlock()
			_, err := client.Write(p)
			return err
		})
	}
	status, err := run(ctx, t)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status = append(w.status, status)
	return err
}

// a testTerminal shows what it has masked and remembered.
type testTerminal struct {
	*witness
	to   Streams
	outs [2]*masked
}

func (t *testTerminal) Output(stderr bool, p []byte) error {
	m := t.outs[0]
	if stderr {
		m = t.outs[1]
	}
	_, err := m.Write(p)
	return err
}

func (t *testTerminal) Drained() error { return errors.Join(t.outs[0].Close(), t.outs[1].Close()) }

func (t *testTerminal) Input(p []byte) error { _, err := t.to.Stdin.Write(p); return err }

func (t *testTerminal) InputEnded() error { return t.to.Stdin.Close() }

func (t *testTerminal) Resize(cols, rows uint16) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sizes = append(t.sizes, fmt.Sprintf("%dx%d", cols, rows))
	return nil
}

// a gate is a listener whose connections are tunnels to the cluster.
type gate struct {
	*witness
	config string // kubeconfig
	ca     *x509.CertPool
	target *Target
	addr   string
	id     atomic.Pointer[Identity] // of those who connect from now on
}

func newGate(t testing.TB, change ...func(*Config)) *gate {
	t.Helper()
	engine, err := mask.New(mask.Config{})
	must(t, err)
	ca, err := os.ReadFile(cluster.CA)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	admin, err := tls.LoadX509KeyPair(cluster.Cert, cluster.Key)
	must(t, err)
	own, pemCA := selfSigned(t)
	c := Config{
		Name: "k8s", Server: cluster.URL, CAs: pool, Credential: Credential{Certificate: &admin},
		Certificate: func(context.Context) (*tls.Certificate, error) { return own, nil },
	}
	for _, f := range change {
		f(&c)
	}
	target, err := New(c)
	must(t, err)
	t.Cleanup(target.Close)
	g := &gate{witness: &witness{engine: engine}, target: target, ca: x509.NewCertPool()}
	g.ca.AppendCertsFromPEM(pemCA)
	g.id.Store(&Identity{User: "dev@example.com", Groups: []string{"users"}, Extra: map[string]string{"session": "s123456"}, Session: "s123456"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	g.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_ = target.Serve(ctx, conn, *g.id.Load(), g)
			})
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); wg.Wait() })
	g.config = filepath.Join(t.TempDir(), "kubeconfig")
	caFile := filepath.Join(filepath.Dir(g.config), "ca.crt")
	must(t, os.WriteFile(caFile, pemCA, 0o600))
	must(t, os.WriteFile(g.config, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: g, cluster: {server: "https://%s", certificate-authority: %q, tls-server-name: k8s}}]
users: [{name: u, user: {token: "worth nothing"}}]
contexts: [{name: g, context: {cluster: g, user: u, namespace: web}}]
current-context: g
`, g.addr, caFile), 0o600))
	return g
}

func selfSigned(t testing.TB) (*tls.Certificate, []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "k8s"}, DNSNames: []string{"k8s"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	must(t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// kubectl runs the real one through the gate and returns what it printed and its exit status.
func (g *gate) kubectl(t testing.TB, stdin string, args ...string) (string, int) {
	t.Helper()
	return g.kubectlEnv(t, nil, stdin, args...)
}

func (g *gate) kubectlEnv(t testing.TB, env []string, stdin string, args ...string) (string, int) {
	t.Helper()
	tool, err := throwaway.Tool("kubectl")
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, tool, append([]string{"--kubeconfig", g.config}, args...)...)
	c.Env = append(append(os.Environ(), "HOME="+filepath.Dir(g.config)), env...)
	if stdin != "" {
		c.Stdin = strings.NewReader(stdin)
	}
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("kubectl %v: %v", args, err)
	}
	return string(out), c.ProcessState.ExitCode()
}

// TestRead: what a reader does all day comes out as from the server itself, without what must be hidden.
func TestRead(t *testing.T) {
	g := newGate(t)
	for _, c := range []struct {
		args     string
		has, not []string
	}{
		{"get pods", []string{"web-0", "Running", "db-0"}, nil},
		{"get pods -o wide -w=false", []string{"10.0.0.9"}, nil},
		{"get pod web-0 -o yaml", []string{"SESSION_SECRET", "registry.example/web:1.4.2", `value: '********'`}, []string{"kJ8sQ2vXz1mN4pR7"}},
		{"get deploy web -o json", []string{`"value": "8080"`, `"value": "********"`}, []string{"kJ8sQ2vXz1mN4pR7"}},
		{"get secrets", []string{"db", "Opaque", "2"}, nil},
		{"get secret db -o yaml", []string{"password: KioqKioqKio=", "last-applied-configuration"}, []string{"VHIwdWI0", "Tr0ub4dor"}},
		{"get secrets -A -o json", []string{"KioqKioqKio="}, []string{"VHIwdWI0", "Tr0ub4dor"}},
		{"get cm shop -o yaml", []string{"port = 8080"}, []string{"anna.schmidt"}},
		{"logs web-0", []string{"GET /healthz 200", "login a***"}, []string{"anna.schmidt", "1111 1111"}},
		{"version", []string{"Server Version: v1.37.2"}, nil},
		{"api-resources", []string{"deployments", "apps/v1"}, nil},
		{"explain pod.spec.containers", []string{"FIELDS", "image"}, nil},
		{"auth can-i list pods", []string{"yes"}, nil},
		{"auth whoami", []string{"sallyport:users", "system:authenticated", "sallyport-session"}, nil},
		{"describe pod web-0", []string{"Node:", "node-1"}, []string{"kJ8sQ2vXz1mN4pR7"}},
		{"get --raw /api/v1/namespaces/web/pods?limit=1", []string{`"continue"`}, nil},
		{"get nosuch", []string{`doesn't have a resource type "nosuch"`}, nil},
		{"get pod nosuch", []string{`pods "nosuch" not found`}, nil},
	} {
		out, _ := g.kubectl(t, "", strings.Fields(c.args)...)
		for _, s := range c.has {
			if !strings.Contains(out, s) {
				t.Errorf("kubectl %s: no %q in\n%s", c.args, s, out)
			}
		}
		for _, s := range c.not {
			if strings.Contains(out, s) {
				t.Errorf("kubectl %s shows %q:\n%s", c.args, s, out)
			}
		}
	}
	if strings.Contains(g.text.String(), "kJ8sQ2vXz1mN4pR7") || strings.Contains(g.text.String(), "anna.schmidt") || !strings.Contains(g.text.String(), "web-0") {
		t.Error("the transcript holds what must be hidden, or nothing")
	}
	if len(g.done) != len(g.asked) {
		t.Errorf("%d requests, %d ends", len(g.asked), len(g.done))
	}
}

// TestExec: exit status, streams, input of some size, through both protocols.
func TestExec(t *testing.T) {
	for protocol, env := range map[string][]string{"websocket": nil, "spdy": {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false"}} {
		t.Run(protocol, func(t *testing.T) {
			g := newGate(t)
			out, code := g.kubectlEnv(t, env, "", "exec", "web-0", "--", "sh", "-c", "echo out; echo card 4111111111111111 >&2; exit 7")
			if code != 7 || !strings.Contains(out, "out\n") || !strings.Contains(out, "card 411111") || strings.Contains(out, "4111111111111111") {
				t.Errorf("%d %s", code, out)
			}
			input := strings.Repeat("0123456789abcdef\n", 60000)
			out, code = g.kubectlEnv(t, env, input, "exec", "-i", "web-0", "-c", "web", "--", "cat") // named: another test leaves a container beside it
			if code != 0 || out != input {
				t.Errorf("%d, %d bytes of %d came back; they begin %.80q and end %.120q", code, len(out), len(input), out, out[max(0, len(out)-120):])
			}
			if out, code = g.kubectlEnv(t, env, "", "exec", "web-0", "--", "/no/such/program"); code == 0 {
				t.Errorf("%d %s", code, out)
			}
			if out, code = g.kubectlEnv(t, env, "", "exec", "nosuch", "--", "true"); code == 0 || !strings.Contains(out, `"nosuch" not found`) {
				t.Errorf("%d %s", code, out)
			}
			if len(g.status) != 3 || *g.status[0] != 7 || *g.status[1] != 0 {
				t.Errorf("recorded ends: %v", g.status)
			}
			if !strings.Contains(g.output.String(), "card 411111**********") {
				t.Error("the record of the output is not what was shown")
			}
		})
	}
}

// TestAttachCopyForward: attach, cp both ways, and port-forward.
func TestAttachCopyForward(t *testing.T) {
	g := newGate(t)
	if out, code := g.kubectl(t, "hello\n", "attach", "-i", "web-0"); code != 0 || !strings.Contains(out, "web: hello") {
		t.Errorf("attach: %d %s", code, out)
	}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "a"), bytes.Repeat([]byte{0, 255, '\n', 'x'}, 50000), 0o600))
	if out, code := g.kubectl(t, "", "cp", filepath.Join(dir, "a"), "web-0:copied"); code != 0 {
		t.Fatalf("cp: %s", out)
	}
	if out, code := g.kubectl(t, "", "cp", "web-0:copied", filepath.Join(dir, "b")); code != 0 {
		t.Fatalf("cp: %s", out)
	}
	a, _ := os.ReadFile(filepath.Join(dir, "a"))
	b, err := os.ReadFile(filepath.Join(dir, "b"))
	if err != nil || !bytes.Equal(a, b) {
		t.Errorf("the copy of the copy differs: %d bytes of %d, %v", len(b), len(a), err)
	}
}

// start runs kubectl until the test is done with it, and returns what it prints, line by line.
func (g *gate) start(t *testing.T, args ...string) (lines <-chan string, stop func()) {
	t.Helper()
	tool, err := throwaway.Tool("kubectl")
	must(t, err)
	c := exec.Command(tool, append([]string{"--kubeconfig", g.config}, args...)...)
	c.Env = append(os.Environ(), "HOME="+filepath.Dir(g.config))
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	ch := make(chan string, 100)
	go func() {
		defer close(ch)
		for s := bufio.NewScanner(out); s.Scan(); {
			ch <- s.Text()
		}
	}()
	stop = sync.OnceFunc(func() {
		_ = c.Process.Kill()
		for range ch {
		}
		_ = c.Wait()
	})
	t.Cleanup(stop)
	return ch, stop
}

// wait reads lines until one holds want.
func wait(t *testing.T, lines <-chan string, want string) string {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case l, ok := <-lines:
			if !ok {
				t.Fatalf("it ended without %q", want)
			}
			if strings.Contains(l, want) {
				return l
			}
		case <-deadline:
			t.Fatalf("no %q", want)
		}
	}
}

// TestLive: watches and logs that are followed come as they happen, masked.
func TestLive(t *testing.T) {
	g := newGate(t)
	watch, stop := g.start(t, "get", "secrets", "--watch", "-o", "json")
	wait(t, watch, `"password": "KioqKioqKio="`)
	if _, err := cluster.Kubectl(t.Context(), nil, "create", "secret", "generic", "live", "-n", "web", "--from-literal=k=hunter2hunter2"); err != nil {
		t.Fatal(err)
	}
	if l := wait(t, watch, `"k":`); !strings.Contains(l, "KioqKioqKio=") {
		t.Errorf("the event shows %s", l)
	}
	stop()
	logs, stop := g.start(t, "logs", "-f", "web-0")
	wait(t, logs, "healthz")
	f, err := os.OpenFile(filepath.Join(cluster.Dir, "node/web_web-0_web.log"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	fmt.Fprint(f, "paid with 5555 5555 5555 4444\n")
	if l := wait(t, logs, "paid with"); strings.Contains(l, "4444") {
		t.Errorf("the log shows %s", l)
	}
	stop()
}

// TestPortForward: bytes go both ways, by the real client, and are counted.
func TestPortForward(t *testing.T) {
	g := newGate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	out, stop := g.start(t, "port-forward", "web-0", ":"+port)
	line := wait(t, out, "Forwarding from 127.0.0.1:")
	addr, _, _ := strings.Cut(strings.TrimPrefix(line, "Forwarding from "), " ")
	c, err := net.Dial("tcp", addr)
	must(t, err)
	defer c.Close()
	_, err = c.Write([]byte("ping"))
	must(t, err)
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "ping" {
		t.Errorf("%q, %v", b, err)
	}
	c.Close()
	stop()
}

// TestClientsOfAllKinds: what no kubectl sends.
func TestClientsOfAllKinds(t *testing.T) {
	g := newGate(t)
	for name, c := range map[string]struct{ send, want string }{
		"plain HTTP/1.1":         {"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200 OK"},
		"a host that is named":   {"GET http://169.254.169.254/version HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n\r\n", "v1.37.2"},
		"CONNECT":                {"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\nConnection: close\r\n\r\n", "400 Bad Request"},
		"two readings of a path": {"GET /api/v1/namespaces/web%2F..%2Fkube-system/secrets HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "400 Bad Request"},
		"two lengths":            {"POST /api/v1/pods HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400 Bad Request"},
		"length and chunks":      {"POST /api/v1/namespaces/web/pods HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 Bad Request"},
		"protobuf only":          {"GET /api/v1/namespaces/web/secrets HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: application/vnd.kubernetes.protobuf\r\n\r\n", "KioqKioqKio="},
		"somebody else":          {"GET /api/v1/pods HTTP/1.1\r\nHost: x\r\nConnection: close\r\nimpersonate-user: admin\r\n\r\n", "403 Forbidden"},
		"an upgrade of nothing":  {"GET /api/v1/pods HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "400 Bad Request"},
		"exec without upgrade":   {"POST /api/v1/namespaces/web/pods/web-0/exec?command=id HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "400 Bad Request"},
		"a compressed body":      {"POST /api/v1/namespaces/web/pods HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\na", "415 Unsupported"},
		"too much":               {"POST /api/v1/namespaces/web/pods HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3145729\r\n\r\n" + strings.Repeat("a", 3<<20+1), "413 Request Entity"},
		"another method's name":  {"GET /api/v1/namespaces/web/pods/web-0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-HTTP-Method-Override: DELETE\r\nX-Method-Override: DELETE\r\n\r\n", `"kind":"Pod"`},
		"dots":                   {"GET /api/v1/namespaces/web/../kube-system/secrets HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "400 Bad Request"},
		"escaped dots":           {"GET /api/v1/namespaces/web/%2e%2E/secrets HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "400 Bad Request"},
		"two slashes":            {"GET /api/v1//namespaces/web/secrets/db HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "400 Bad Request"},
		"another case":           {"GET /API/v1/namespaces/web/secrets/db HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "404 Not Found"},
		"parameters of a path":   {"GET /api/v1/namespaces/web/secrets;a=b/db HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "404 Not Found"},
		"an upgrade of a log":    {"GET /api/v1/namespaces/web/pods/web-0/log HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", "400 Bad Request"},
		"headers without end":    {"GET /version HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("a", 80<<10) + "\r\n\r\n", "431 Request Header"},
		"a chunk of no size":     {"POST /api/v1/namespaces/web/pods HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400 Bad Request"},
		"another encoding":       {"POST /api/v1/namespaces/web/pods HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501 Not Implemented"},
		"no HTTP at all":         {"SSH-2.0-OpenSSH_9.2\r\n\r\n", "400 Bad Request"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", g.addr)
			must(t, err)
			defer conn.Close()
			must(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
			go func() { _, _ = io.WriteString(conn, c.send) }()
			var answer []byte
			for b := make([]byte, 4096); !strings.Contains(string(answer), c.want); {
				n, err := conn.Read(b)
				if answer = append(answer, b[:n]...); err != nil {
					break
				}
			}
			if !strings.Contains(string(answer), c.want) || strings.Contains(string(answer), "VHIwdWI0") {
				t.Errorf("%.600s", answer)
			}
		})
	}
}

// TestWrite: writes arrive byte for byte, and approvers are shown what they would change.
func TestWrite(t *testing.T) {
	g := newGate(t)
	var shown []string
	g.decide(func(r *kube.Request, text func(context.Context) string) error {
		if r.Verb == "patch" {
			s := text(t.Context())
			g.mu.Lock()
			defer g.mu.Unlock()
			shown = append(shown, s)
		}
		return nil
	})
	if out, code := g.kubectl(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: made}\ndata: {a: one}\n", "apply", "-f", "-"); code != 0 {
		t.Fatal(out)
	}
	for _, args := range [][]string{{"apply", "-f", "-"}, {"apply", "--server-side", "--force-conflicts", "-f", "-"}} {
		if out, code := g.kubectl(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: made}\ndata: {a: two, b: \""+args[1]+"\"}\n", args...); code != 0 {
			t.Fatal(out)
		}
	}
	for _, args := range []string{"scale deploy web --replicas=3", "label pod web-0 tier=front --overwrite", "delete cm made", "create -f /dev/null"} {
		out, code := g.kubectl(t, "", strings.Fields(args)...)
		if wantFail := strings.HasSuffix(args, "null"); (code != 0) != wantFail {
			t.Errorf("kubectl %s: %d %s", args, code, out)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(shown) < 2 || !strings.Contains(shown[0], "-  a: one\n+  a: two") || !strings.Contains(shown[0], "PATCH /api/v1/namespaces/web/configmaps/made?") {
		t.Errorf("shown:\n%s", strings.Join(shown, "\n----\n"))
	}
}

// TestRBAC: what deploy/kubernetes-rbac.yaml grants is enough for both ways, and is nothing by itself.
func TestRBAC(t *testing.T) {
	if _, err := cluster.Kubectl(t.Context(), nil, "apply", "-f", "../../deploy/kubernetes-rbac.yaml"); err != nil {
		t.Fatal(err)
	}
	// Without a controller manager the cluster's own role "edit" grants nothing.
	if _, err := cluster.Kubectl(t.Context(), nil, "create", "clusterrolebinding", "sessions", "--clusterrole=cluster-admin", "--serviceaccount=sallyport:sessions"); err != nil {
		t.Fatal(err)
	}
	token, err := cluster.Kubectl(t.Context(), nil, "create", "token", "gate", "-n", "sallyport")
	must(t, err)
	for name, account := range map[string]string{"impersonation": "", "service account": "sallyport/sessions"} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, func(c *Config) {
				c.ServiceAccount = account
				c.Credential = Credential{Token: func() (string, error) { return strings.TrimSpace(string(token)), nil }}
			})
			if out, code := g.kubectl(t, "", "get", "pods"); code != 0 || !strings.Contains(out, "web-0") {
				t.Errorf("%d %s", code, out)
			}
		})
	}
	t.Run("by itself", func(t *testing.T) {
		out, err := cluster.Kubectl(t.Context(), nil, "auth", "can-i", "get", "pods", "-A", "--as=system:serviceaccount:sallyport:gate")
		if err == nil || !strings.Contains(string(out), "no") {
			t.Errorf("the gate's own account may read pods: %s", out)
		}
	})
}

type refusal string

func (r refusal) Error() string      { return "refused: " + string(r) }
func (r refusal) PublicText() string { return string(r) }

// TestRefused: a refusal is a Status that kubectl prints, and the server never hears of it.
func TestRefused(t *testing.T) {
	g := newGate(t)
	g.decide(func(r *kube.Request, _ func(context.Context) string) error {
		if r.Discovery() || r.Action() == "kube:get" && r.Subresource == "" { // kubectl looks at the pod first
			return nil
		}
		return refusal("refused by policy no-kube")
	})
	before, _ := os.ReadFile(cluster.Audit)
	for _, args := range []string{"get pods", "exec web-0 -- true", "delete pod web-0", "logs web-0", "port-forward web-0 18080:80"} {
		out, code := g.kubectl(t, "", strings.Fields(args)...)
		if code == 0 || !strings.Contains(out, "refused by policy no-kube") {
			t.Errorf("kubectl %s: %d %s", args, code, out)
		}
	}
	g.mu.Lock()
	asked := 0
	for _, r := range g.asked {
		if r.Action() == "kube:exec" {
			asked++
		}
	}
	g.mu.Unlock()
	if asked != 1 {
		t.Errorf("somebody was asked %d times about one exec", asked)
	}
	after, _ := os.ReadFile(cluster.Audit)
	for _, line := range strings.Split(string(after[len(before):]), "\n") {
		if strings.Contains(line, "dev@example.com") && strings.Contains(line, "/namespaces/web/") && !strings.Contains(line, `"verb":"get"`) {
			t.Errorf("the server heard: %s", line)
		}
	}
	for _, args := range []string{"get pods --as=admin", "get pods --as=x --as-group=system:masters"} {
		if out, code := g.kubectl(t, "", strings.Fields(args)...); code == 0 || !strings.Contains(out, "nobody is somebody else") {
			t.Errorf("kubectl %s: %d %s", args, code, out)
		}
	}
}

// TestAudit: the server's own log names the human and the session, whichever credential it was.
func TestAudit(t *testing.T) {
	for name, c := range map[string]struct{ account, who string }{
		"impersonation":   {"", `"impersonatedUser":{"username":"dev@example.com"`},
		"service account": {"web/sallyport-developer", `"user":{"username":"system:serviceaccount:web:sallyport-developer"`},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, func(conf *Config) { conf.ServiceAccount = c.account })
			marker := "marker-" + strings.ReplaceAll(name, " ", "-")
			if out, code := g.kubectl(t, "", "get", "cm", marker); code == 0 || !strings.Contains(out, "not found") {
				t.Fatal(out)
			}
			log, err := os.ReadFile(cluster.Audit)
			must(t, err)
			i := slices.IndexFunc(strings.Split(string(log), "\n"), func(l string) bool {
				return strings.Contains(l, marker) && strings.Contains(l, c.who) && strings.Contains(l, "sallyport-session/s123456")
			})
			if i < 0 {
				t.Errorf("nothing in the server's audit log names the session:\n%s", log[max(0, len(log)-3000):])
			}
		})
	}
}
