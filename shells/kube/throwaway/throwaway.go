// Package throwaway runs a real kube-apiserver on a real etcd, with a node whose containers are processes of this machine: for
// `sallyport dev`, where there is a cluster to look at, and for tests.
package throwaway

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// A Server runs from Start to Stop.
type Server struct {
	Dir   string // everything it has; the node's logs and the commands' directory are Dir/node
	URL   string // https://127.0.0.1:PORT
	Admin string // kubeconfig file of somebody who may do everything
	CA    string // file
	Cert  string // file of the admin's certificate; its key is Key
	Key   string
	Audit string // file of the server's own audit log

	ports  []int // etcd's two, the node's, the server's
	procs  []*exec.Cmd
	deaths []chan struct{}
}

//go:embed demo.yaml
var demo []byte

// custom is an object of the type that demo defines.
const custom = `{"apiVersion":"shop.example.com/v1","kind":"Backup","metadata":{"name":"nightly","namespace":"web"},"spec":{"schedule":"0 3 * * *","keep":7}}`

// Tools are the programs that `make k8s` and `make test` build.
var Tools = []string{"kube-apiserver", "kubectl", "kube-node"}

// Tool is the path of one of the Tools.
func Tool(name string) (string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/"
	}
	for _, dir := range []string{os.Getenv("SALLYPORT_KUBE"), filepath.Join(home, ".cache/sallyport/bin")} {
		if info, err := os.Stat(filepath.Join(dir, name)); dir != "" && err == nil && info.Mode()&0o111 != 0 {
			return filepath.Join(dir, name), nil
		}
	}
	return "", fmt.Errorf("there is no %s: make k8s builds it, once, which takes some minutes", name)
}

// Missing says what a server here lacks; nil if it can be started.
func Missing() error {
	for _, name := range Tools {
		if _, err := Tool(name); err != nil {
			return err
		}
	}
	if _, err := exec.LookPath("etcd"); err != nil {
		return errors.New("etcd is not installed (apt-get install etcd-server)")
	}
	return nil
}

// New makes what a server needs in dir, its keys and the admin's kubeconfig among it, and starts nothing.
func New(dir string) (*Server, error) {
	k := &Server{Dir: dir, Admin: filepath.Join(dir, "admin.kubeconfig"), Audit: filepath.Join(dir, "audit.log")}
	err := os.MkdirAll(filepath.Join(dir, "node"), 0o755)
	if err == nil {
		err = k.keys()
	}
	if err == nil {
		k.ports, err = freePorts(4)
	}
	if err != nil {
		return nil, err
	}
	k.URL = fmt.Sprintf("https://127.0.0.1:%d", k.ports[3])
	return k, k.WriteKubeconfig(k.Admin, k.URL)
}

// Start starts a server made by New, puts demo objects into it, and returns when it is ready. Its processes end with this
// program.
func (k *Server) Start(ctx context.Context) error {
	err := k.etcd(k.ports[0], k.ports[1])
	if err == nil {
		err = k.node(k.ports[2])
	}
	if err == nil {
		err = k.apiserver(ctx, k.ports[3], k.ports[0])
	}
	if err == nil {
		err = k.fill(ctx, k.ports[2])
	}
	if err != nil {
		k.Stop()
	}
	return err
}

// Start makes a server in dir and starts it.
func Start(ctx context.Context, dir string) (*Server, error) {
	k, err := New(dir)
	if err == nil {
		err = k.Start(ctx)
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}

// Stop ends everything; the state stays in Dir.
func (k *Server) Stop() {
	for i := len(k.procs) - 1; i >= 0; i-- {
		_ = k.procs[i].Process.Kill()
		<-k.deaths[i]
	}
	k.procs, k.deaths = nil, nil
}

// Kubectl runs the real kubectl as the admin.
func (k *Server) Kubectl(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	tool, err := Tool("kubectl")
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, tool, append([]string{"--kubeconfig", k.Admin}, args...)...)
	c.Env = append(os.Environ(), "HOME="+k.Dir)
	c.Stdin = bytes.NewReader(stdin)
	out, err := c.CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return out, nil
}

// keys makes a CA and what it signs.
func (k *Server) keys() error {
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test cluster"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	caKey, err := k.sign("ca", ca, ca, nil)
	if err != nil {
		return err
	}
	k.CA, k.Cert, k.Key = k.file("ca.crt"), k.file("admin.crt"), k.file("admin.key")
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for i, c := range []struct {
		file string
		name pkix.Name
	}{
		{"server", pkix.Name{CommonName: "kubernetes"}},
		{"admin", pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}},
		{"kubelet-client", pkix.Name{CommonName: "apiserver"}},
		{"service-account", pkix.Name{CommonName: "service-account"}},
	} {
		t := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), Subject: c.name, ExtKeyUsage: both, KeyUsage: x509.KeyUsageDigitalSignature,
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost", "kubernetes.default.svc", "node-1"},
		}
		if _, err := k.sign(c.file, t, ca, caKey); err != nil {
			return err
		}
	}
	return nil
}

// sign writes NAME.crt and NAME.key.
func (k *Server) sign(name string, t, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if caKey == nil {
		caKey = key
	}
	t.NotBefore, t.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(30*24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, t, ca, key.Public(), caKey)
	if err != nil {
		return nil, err
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, errors.Join(
		os.WriteFile(k.file(name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(k.file(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}), 0o600))
}

func (k *Server) file(name string) string { return filepath.Join(k.Dir, name) }

// run starts a program that ends with this one.
func (k *Server) run(path string, args ...string) error {
	log, err := os.Create(k.file(filepath.Base(path) + ".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	c := exec.Command(path, args...)
	c.Stdout, c.Stderr, c.Dir = log, log, k.Dir
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started, died := make(chan error, 1), make(chan struct{})
	go func() { // ends with the program, which is told to end with the thread that started it: so that must stay
		runtime.LockOSThread()
		defer close(died)
		err := c.Start()
		started <- err
		if err == nil {
			_ = c.Wait()
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	k.procs, k.deaths = append(k.procs, c), append(k.deaths, died)
	return nil
}

func (k *Server) etcd(client, peer int) error {
	path, err := exec.LookPath("etcd")
	if err != nil {
		return errors.New("etcd is not installed (apt-get install etcd-server)")
	}
	c, p := fmt.Sprintf("http://127.0.0.1:%d", client), fmt.Sprintf("http://127.0.0.1:%d", peer)
	return k.run(path, "--data-dir", k.file("etcd"), "--listen-client-urls", c, "--advertise-client-urls", c, "--listen-peer-urls", p,
		"--initial-advertise-peer-urls", p, "--initial-cluster", "default="+p, "--unsafe-no-fsync")
}

func (k *Server) node(port int) error {
	path, err := Tool("kube-node")
	if err != nil {
		return err
	}
	return k.run(path, "--addr", fmt.Sprintf("127.0.0.1:%d", port), "--cert", k.file("server.crt"), "--key", k.file("server.key"),
		"--client-ca", k.CA, "--dir", k.file("node"))
}

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
`

func (k *Server) apiserver(ctx context.Context, port, etcd int) error {
	path, err := Tool("kube-apiserver")
	if err != nil {
		return err
	}
	if err := os.WriteFile(k.file("audit-policy.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	err = k.run(path, "--etcd-servers", fmt.Sprintf("http://127.0.0.1:%d", etcd), "--secure-port", fmt.Sprint(port),
		"--bind-address", "127.0.0.1", "--endpoint-reconciler-type", "none", "--cert-dir", k.Dir,
		"--tls-cert-file", k.file("server.crt"), "--tls-private-key-file", k.file("server.key"), "--client-ca-file", k.CA,
		"--authorization-mode", "RBAC", "--allow-privileged", "--service-cluster-ip-range", "10.0.0.0/24",
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", k.file("service-account.crt"),
		"--service-account-signing-key-file", k.file("service-account.key"), "--disable-admission-plugins", "ServiceAccount",
		"--kubelet-certificate-authority", k.CA, "--kubelet-client-certificate", k.file("kubelet-client.crt"),
		"--kubelet-client-key", k.file("kubelet-client.key"), "--kubelet-preferred-address-types", "InternalIP",
		"--audit-policy-file", k.file("audit-policy.yaml"), "--audit-log-path", k.Audit, "--audit-log-mode", "blocking")
	if err != nil {
		return err
	}
	return k.ready(ctx, len(k.procs)-1)
}

// ready waits until the server says that it is.
func (k *Server) ready(ctx context.Context, server int) error {
	pool := x509.NewCertPool()
	ca, err := os.ReadFile(k.CA)
	if err != nil {
		return err
	}
	pool.AppendCertsFromPEM(ca)
	cert, err := tls.LoadX509KeyPair(k.Cert, k.Key)
	if err != nil {
		return err
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: 5 * time.Second}
	deadline := time.After(5 * time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if resp, err := client.Get(k.URL + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-k.deaths[server]:
			return fmt.Errorf("kube-apiserver ended: see %s", k.file("kube-apiserver.log"))
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline:
			return fmt.Errorf("kube-apiserver does not answer: see %s", k.file("kube-apiserver.log"))
		case <-tick.C:
		}
	}
}

// WriteKubeconfig writes the admin's kubeconfig for the server at url.
func (k *Server) WriteKubeconfig(file, url string) error {
	return os.WriteFile(file, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: admin, user: {client-certificate: %q, client-key: %q}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
current-context: test
`, url, k.CA, k.Cert, k.Key), 0o600)
}

// fill puts the demo objects there.
func (k *Server) fill(ctx context.Context, nodePort int) error {
	log := "GET / 200\nlogin anna.schmidt@example.com card 4111 1111 1111 1111\nGET /healthz 200\n"
	if err := os.WriteFile(filepath.Join(k.Dir, "node", "web_web-0_web.log"), []byte(log), 0o644); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	status := fmt.Sprintf(`{"status":{"addresses":[{"type":"InternalIP","address":"127.0.0.1"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":%d}},"conditions":[{"type":"Ready","status":"True"}]}}`, nodePort)
	for _, step := range []struct {
		stdin string
		args  []string
	}{
		{string(demo), []string{"apply", "-f", "-"}},
		{"", []string{"wait", "--for=condition=Established", "crd/backups.shop.example.com"}},
		{custom, []string{"apply", "-f", "-"}},
		{"", []string{"patch", "node", "node-1", "--subresource=status", "--type=merge", "-p", status}},
		{"", []string{"patch", "pod", "web-0", "-n", "web", "--subresource=status", "--type=merge", "-p", running("web")}},
		{"", []string{"patch", "pod", "db-0", "-n", "web", "--subresource=status", "--type=merge", "-p", running("db")}},
	} {
		if _, err := k.Kubectl(ctx, []byte(step.stdin), step.args...); err != nil {
			return err
		}
	}
	return nil
}

// running is what a node would say of a pod that runs.
func running(container string) string {
	return `{"status":{"phase":"Running","podIP":"10.0.0.9","conditions":[{"type":"Ready","status":"True"}],"containerStatuses":[{"name":"` +
		container + `","ready":true,"restartCount":0,"image":"i","imageID":"i","state":{"running":{"startedAt":"2026-11-24T08:00:00Z"}}}]}}`
}

func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
