package real

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// User and Password are the root account of every server here.
const User, Password = "sallyport-test", "sallyport-test-password"

// minioBinary finds the real server; `make test` installs it.
func minioBinary(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short leaves out the tests on a MinIO server")
	}
	home, err := os.UserHomeDir()
	must(t, err)
	for _, name := range []string{os.Getenv("SALLYPORT_MINIO"), filepath.Join(home, ".cache/sallyport/bin/minio")} {
		if info, err := os.Stat(name); name != "" && err == nil && info.Mode()&0o111 != 0 {
			return name
		}
	}
	name, err := exec.LookPath("minio")
	if err != nil {
		t.Fatal("no MinIO server: run `make test`, which installs it, or name one in SALLYPORT_MINIO")
	}
	return name
}

// MinIO is a real object store of a test's own.
type MinIO struct {
	Addr string
	CA   string // its certificate's file, "" without TLS
	Dir  string // its data is in Dir/data
	// Secret is the root account's password from the next Start on; "" is Password.
	Secret string
	cmd    *exec.Cmd
	log    bytes.Buffer
}

// StartMinIO starts a server that ends with the test; with TLS it has a certificate of its own.
func StartMinIO(t testing.TB, tls bool) *MinIO {
	t.Helper()
	s := &MinIO{Dir: t.TempDir(), Addr: freeAddr(t)}
	certs := filepath.Join(s.Dir, "certs")
	must(t, os.MkdirAll(certs, 0o700))
	if tls {
		s.CA = selfSigned(t, certs)
	}
	s.Start(t)
	return s
}

// Start runs the server on its address and waits until it serves.
func (s *MinIO) Start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command(minioBinary(t), "server", "--quiet", "--address", s.Addr, "--certs-dir", filepath.Join(s.Dir, "certs"), filepath.Join(s.Dir, "data"))
	s.cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+User, "MINIO_ROOT_PASSWORD="+s.secret(), "MINIO_BROWSER=off",
		"MINIO_UPDATE=off", "MINIO_KMS_SECRET_KEY=test:OSMM+vkKUTCvQs9YL/CVMIMt43HFhkUpqJxTmGl6rYw=", "HOME="+s.Dir, "CI=true")
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	must(t, s.cmd.Start())
	t.Cleanup(s.Stop)
	admin := s.Admin(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := admin.ListBuckets(ctx); err == nil {
			return
		}
		select {
		case <-ctx.Done():
			s.Stop()
			t.Fatalf("MinIO does not answer:\n%s", s.log.String())
		case <-tick.C:
		}
	}
}

func (s *MinIO) secret() string {
	if s.Secret != "" {
		return s.Secret
	}
	return Password
}

// Stop ends the server; Start brings it back with its data.
func (s *MinIO) Stop() {
	if s.cmd.ProcessState == nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	}
}

// Admin may do everything.
func (s *MinIO) Admin(t testing.TB) *minio.Client {
	t.Helper()
	o := &minio.Options{Creds: credentials.NewStaticV4(User, s.secret(), ""), Secure: s.CA != ""}
	if s.CA != "" {
		tr, err := minio.DefaultTransport(true)
		must(t, err)
		b, err := os.ReadFile(s.CA)
		must(t, err)
		tr.TLSClientConfig.RootCAs = x509.NewCertPool()
		tr.TLSClientConfig.RootCAs.AppendCertsFromPEM(b)
		o.Transport = tr
	}
	c, err := minio.New(s.Addr, o)
	must(t, err)
	return c
}

// Bucket makes one.
func (s *MinIO) Bucket(t testing.TB, name string, o minio.MakeBucketOptions) {
	t.Helper()
	must(t, s.Admin(t).MakeBucket(t.Context(), name, o))
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

func selfSigned(t testing.TB, dir string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	must(t, err)
	k, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	name := filepath.Join(dir, "public.crt")
	must(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "private.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k}), 0o600))
	return name
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
