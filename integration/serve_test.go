package integration

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/certs/devidp"
	"github.com/sallyport-ssh/sallyport/certs/login"
	"github.com/sallyport-ssh/sallyport/integration/real"
)

// A production is `sallyport serve` as an operator runs it: a provider elsewhere, PostgreSQL for the
// ledger, MinIO for the recordings, a file for all of it.
type production struct {
	t            *testing.T
	dir          string
	idp          *devidp.Provider
	sshAddr, url string
	cmd          *exec.Cmd
	log          *lockedBuffer
	exited       chan error
	store        *real.MinIO
}

const productionConfig = `
gate: {name: gate.test}
ssh: {listen: '%[1]s', handshake_timeout: 5s}
http: {listen: '%[2]s'}
ca: {dir: ca}
issuers:
  - {url: '%[3]s', audiences: [sallyport, sallyport-console], claims: {kind: sallyport_kind}}
users:
  - {name: alice, email: alice@example.com, groups: [users]}
targets:
  - {name: box, kind: shell, labels: {env: dev}}
ledger: {url: '%[4]s'}
recordings:
  spool: spool
  s3: {endpoint: '%[5]s', bucket: casts, insecure_plaintext: true, access_key_file: access, secret_key_file: secret}
console: {client_id: sallyport-console}
policies: [policies]
`

const productionPolicy = `
@id("alice")
permit (principal, action in [Action::"session:open", Action::"command:run"], resource)
when { principal in Group::"users" };
`

func startProduction(t *testing.T) *production {
	t.Helper()
	p := &production{t: t, dir: t.TempDir(), log: new(lockedBuffer)}
	runtime.LockOSThread() // PostgreSQL dies with the thread that started it
	db, err := real.StartPostgres()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Stop(); runtime.UnlockOSThread() })
	p.store = real.StartMinIO(t, false)
	p.store.Bucket(t, "casts", minio.MakeBucketOptions{})

	idpAddr := freeAddr(t)
	p.idp, err = devidp.New(devidp.Options{
		Issuer: "http://" + idpAddr + "/oidc", Dir: filepath.Join(p.dir, "idp"),
		Users: []devidp.User{{Name: "alice", Email: "alice@example.com"}, {Name: "mallory", Email: "mallory@example.com"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", idpAddr)
	if err != nil {
		t.Fatal(err)
	}
	provider := &httptest.Server{Listener: l, Config: &http.Server{Handler: p.idp}}
	provider.Start()
	t.Cleanup(provider.Close)

	p.sshAddr = freeAddr(t)
	httpAddr := freeAddr(t)
	p.url = "http://" + httpAddr
	p.write("sallyport.yaml", fmt.Sprintf(productionConfig, p.sshAddr, httpAddr, "http://"+idpAddr+"/oidc", db.URL("postgres"), p.store.Addr))
	p.write("policies/alice.cedar", productionPolicy)
	p.write("access", real.User+"\n")
	p.write("secret", real.Password+"\n")
	p.start()
	return p
}

func (p *production) write(name, text string) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *production) start() {
	p.t.Helper()
	p.cmd = exec.Command(filepath.Join(bin, "sallyport"), "serve", "--config", filepath.Join(p.dir, "sallyport.yaml"))
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.exited = make(chan error, 1)
	exited, cmd := p.exited, p.cmd
	go func() { exited <- cmd.Wait() }() // received by stop
	p.t.Cleanup(p.stop)
	p.until("the gate is ready", func() bool {
		r, err := http.Get(p.url + "/readyz")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

// stop interrupts the gate, which must end cleanly.
func (p *production) stop() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case err := <-p.exited:
		if err != nil {
			p.t.Errorf("serve: %v\n%s", err, p.log)
		}
	case <-time.After(30 * time.Second):
		p.t.Errorf("serve still runs 30 seconds after SIGINT\n%s", p.log)
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	p.cmd = nil
}

// until polls for a condition of another process, for at most 20 seconds.
func (p *production) until(what string, ok func() bool) {
	p.t.Helper()
	for start := time.Now(); time.Since(start) < 20*time.Second; time.Sleep(25 * time.Millisecond) {
		if ok() {
			return
		}
	}
	p.t.Fatalf("waited 20 seconds until %s\n%s", what, p.log)
}

// login gets a certificate for user by the endpoint, as `sallyport login` does, and returns ssh's options.
func (p *production) login(user string) []string {
	p.t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		p.t.Fatal(err)
	}
	token, err := p.idp.Token(context.Background(), user, "sallyport")
	if err != nil {
		p.t.Fatal(err)
	}
	answer, err := login.Exchange(p.t.Context(), &http.Client{Timeout: 10 * time.Second}, p.url, token, signer, login.Limits{})
	if err != nil {
		p.t.Fatalf("%v\n%s", err, p.log)
	}
	block, err := ssh.MarshalPrivateKey(key, user)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(user+"/id", string(pem.EncodeToMemory(block)))
	p.write(user+"/id-cert.pub", string(ssh.MarshalAuthorizedKey(answer.Certificate)))
	p.write(user+"/known_hosts", strings.Join(answer.KnownHosts, "\n")+"\n")
	_, port, _ := net.SplitHostPort(p.sshAddr)
	dir := filepath.Join(p.dir, user)
	return []string{"-F", "none", "-p", port, "-i", dir + "/id", "-o", "CertificateFile=" + dir + "/id-cert.pub", "-o", "IdentitiesOnly=yes",
		"-o", "UserKnownHostsFile=" + dir + "/known_hosts", "-o", "HostKeyAlias=gate.test", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes"}
}

func (p *production) ssh(user []string, args ...string) (string, int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, "ssh", append(append([]string{}, user...), args...)...)
	out, err := c.CombinedOutput()
	if err != nil && c.ProcessState == nil {
		p.t.Fatal(err)
	}
	return string(out), c.ProcessState.ExitCode()
}

func TestServe(t *testing.T) {
	p := startProduction(t)
	alice := p.login("alice")
	out, code := p.ssh(alice, "box@127.0.0.1", "echo hello from $((40+2))")
	if code != 0 || !strings.Contains(out, "hello from 42") {
		t.Fatalf("exit %d: %s\n%s", code, out, p.log)
	}
	if out, code := p.ssh(p.login("mallory"), "box@127.0.0.1", "id"); code != 77 || !strings.Contains(out, "refused") {
		t.Errorf("somebody no policy names: exit %d: %s", code, out)
	}
	p.recordingIsInMinIO(alice)
	p.policiesReload(alice)

	// The host key, the authority and the ledger survive a restart: the same certificate and the same
	// known_hosts line work.
	p.stop()
	p.start()
	if out, code := p.ssh(alice, "box@127.0.0.1", "true"); code != 0 {
		t.Errorf("after a restart: exit %d: %s", code, out)
	}
}

// recordingIsInMinIO finds the session's cast in the bucket, and nothing of it in clear.
func (p *production) recordingIsInMinIO(alice []string) {
	p.t.Helper()
	out, code := p.ssh(alice, "gate@127.0.0.1", "sessions --json")
	var sessions []struct{ ID, State string }
	if err := json.Unmarshal([]byte(out), &sessions); err != nil || len(sessions) == 0 {
		p.t.Fatalf("sessions: exit %d: %v: %s", code, err, out)
	}
	p.until("the recording is in the bucket", func() bool {
		for o := range p.store.Admin(p.t).ListObjects(p.t.Context(), "casts", minio.ListObjectsOptions{Recursive: true}) {
			if o.Err == nil && strings.Contains(o.Key, sessions[len(sessions)-1].ID) {
				return true
			}
		}
		return false
	})
}

// policiesReload changes the policies under the running gate: a broken set changes nothing, a new one
// counts at once.
func (p *production) policiesReload(alice []string) {
	p.t.Helper()
	p.write("policies/alice.cedar", `permit (principal, action == Action::"sesion:open", resource);`)
	p.until("the broken set is reported with its place", func() bool {
		return strings.Contains(p.log.String(), "alice.cedar:1:") && strings.Contains(p.log.String(), "stay in force")
	})
	if out, code := p.ssh(alice, "box@127.0.0.1", "true"); code != 0 {
		p.t.Errorf("with a broken set the old one must stay: exit %d: %s", code, out)
	}
	p.write("policies/alice.cedar", `@id("nobody") forbid (principal, action, resource);`)
	p.until("the new set is in force", func() bool { _, code := p.ssh(alice, "box@127.0.0.1", "true"); return code == 77 })
	p.write("policies/alice.cedar", productionPolicy)
	p.until("the first set is back", func() bool { _, code := p.ssh(alice, "box@127.0.0.1", "true"); return code == 0 })
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
