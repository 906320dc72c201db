package store_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/sallyport-ssh/sallyport/replay/store"
)

const testUser, testPassword = "sallyport-test", "sallyport-test-password"

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

// server is a MinIO server of a test's own.
type server struct {
	addr, ca string // ca: its certificate's file, "" without TLS
	dir      string
	cmd      *exec.Cmd
	log      bytes.Buffer
}

func startMinIO(t testing.TB, tls bool) *server {
	t.Helper()
	s := &server{dir: t.TempDir(), addr: freeAddr(t)}
	certs := filepath.Join(s.dir, "certs")
	must(t, os.MkdirAll(certs, 0o700))
	if tls {
		s.ca = selfSigned(t, certs)
	}
	s.start(t)
	return s
}

// start runs the server on its address and waits until it serves.
func (s *server) start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command(minioBinary(t), "server", "--quiet", "--address", s.addr, "--certs-dir", filepath.Join(s.dir, "certs"), filepath.Join(s.dir, "data"))
	s.cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+testUser, "MINIO_ROOT_PASSWORD="+testPassword, "MINIO_BROWSER=off",
		"MINIO_UPDATE=off", "MINIO_KMS_SECRET_KEY=test:OSMM+vkKUTCvQs9YL/CVMIMt43HFhkUpqJxTmGl6rYw=", "HOME="+s.dir, "CI=true")
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	must(t, s.cmd.Start())
	t.Cleanup(s.stop)
	admin := s.admin(t)
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
			s.stop()
			t.Fatalf("MinIO does not answer:\n%s", s.log.String())
		case <-tick.C:
		}
	}
}

func (s *server) stop() {
	if s.cmd.ProcessState == nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	}
}

func (s *server) admin(t testing.TB) *minio.Client {
	t.Helper()
	o := &minio.Options{Creds: credentials.NewStaticV4(testUser, testPassword, ""), Secure: s.ca != ""}
	if s.ca != "" {
		tr, err := minio.DefaultTransport(true)
		must(t, err)
		b, err := os.ReadFile(s.ca)
		must(t, err)
		tr.TLSClientConfig.RootCAs = x509.NewCertPool()
		tr.TLSClientConfig.RootCAs.AppendCertsFromPEM(b)
		o.Transport = tr
	}
	c, err := minio.New(s.addr, o)
	must(t, err)
	return c
}

func (s *server) bucket(t testing.TB, name string, o minio.MakeBucketOptions) {
	t.Helper()
	must(t, s.admin(t).MakeBucket(t.Context(), name, o))
}

func (s *server) config(bucket string) store.S3Options {
	return store.S3Options{
		Endpoint: s.addr, Bucket: bucket, Prefix: "casts/", AccessKey: testUser, SecretKey: testPassword,
		PathStyle: true, Plaintext: s.ca == "", CAFile: s.ca, Timeout: 10 * time.Second,
	}
}

func openS3(t testing.TB, c store.S3Options) *store.S3 {
	t.Helper()
	s, err := store.OpenS3(t.Context(), c)
	must(t, err)
	return s
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

func TestS3(t *testing.T) {
	m := startMinIO(t, false)
	m.bucket(t, "plain", minio.MakeBucketOptions{})
	suite(t, openS3(t, m.config("plain")))
}

func TestS3OverTLS(t *testing.T) {
	m := startMinIO(t, true)
	m.bucket(t, "tls", minio.MakeBucketOptions{Region: "eu-central-1"})
	for _, sse := range []string{"", "s3", "kms"} {
		c := m.config("tls")
		c.SSE, c.KMSKeyID = sse, map[string]string{"kms": "test"}[sse]
		s := openS3(t, c)
		key := "sse-" + sse + "x"
		put(t, s, key, "sealed")
		if got, err := get(t, s, key); got != "sealed" {
			t.Errorf("sse %q: got %q, %v", sse, got, err)
		}
	}
	stranger := m.config("tls")
	stranger.CAFile = ""
	err := openS3(t, stranger).Put(t.Context(), "x", []byte("x"), store.PutOptions{})
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
}

func TestS3Retention(t *testing.T) {
	m := startMinIO(t, false)
	m.bucket(t, "locked", minio.MakeBucketOptions{ObjectLocking: true})
	s := openS3(t, m.config("locked"))
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	must(t, s.Put(t.Context(), "kept", []byte("x"), store.PutOptions{RetainUntil: until, LegalHold: true}))
	mode, at, err := m.admin(t).GetObjectRetention(t.Context(), "locked", "casts/kept", "")
	must(t, err)
	if *mode != minio.Compliance || !at.Equal(until) {
		t.Errorf("retained %s until %v, want %v", *mode, at, until)
	}
	hold, err := m.admin(t).GetObjectLegalHold(t.Context(), "locked", "casts/kept", minio.GetObjectLegalHoldOptions{})
	if err != nil || *hold != minio.LegalHoldEnabled {
		t.Errorf("legal hold = %v, %v", hold, err)
	}
}

// TestS3Faults: each fault is an error in good time, and over when the fault is.
func TestS3Faults(t *testing.T) {
	m := startMinIO(t, false)
	m.bucket(t, "faults", minio.MakeBucketOptions{})
	c := m.config("faults")
	s := openS3(t, c)
	put(t, s, "before", "x")
	fails := func(what string, s *store.S3) {
		t.Helper()
		err := s.Put(t.Context(), "x", []byte("x"), store.PutOptions{})
		if err == nil || errors.Is(err, store.ErrNotExist) {
			t.Errorf("%s: put: %v", what, err)
		}
		if err != nil && strings.Contains(err.Error(), testPassword) {
			t.Errorf("%s: the error holds the secret", what)
		}
		if _, err := get(t, s, "before"); err == nil || errors.Is(err, store.ErrNotExist) {
			t.Errorf("%s: get: %v", what, err)
		}
	}

	wrong := c
	wrong.SecretKey = "not-the-password"
	fails("wrong keys", openS3(t, wrong))
	gone := c
	gone.Bucket = "deleted"
	fails("no bucket", openS3(t, gone))
	hole := c
	hole.Endpoint, hole.Timeout = blackHole(t), 300*time.Millisecond
	fails("black hole", openS3(t, hole))
	busy := c
	busy.Endpoint = answering(t, http.StatusServiceUnavailable)
	fails("503", openS3(t, busy))

	m.stop()
	fails("stopped", s)
	m.start(t)
	put(t, s, "after", "y")
	if got, err := get(t, s, "before"); got != "x" {
		t.Errorf("after the restart: %q, %v", got, err)
	}
}

// blackHole accepts connections and never answers.
func blackHole(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() { // ends when l is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
		}
	}()
	return l.Addr().String()
}

func answering(t testing.TB, status int) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })}
	go srv.Serve(l) // ends when srv is closed
	t.Cleanup(func() { srv.Close() })
	return l.Addr().String()
}

// TestS3KeysRotate: keys that are replaced in their files are taken up when the old ones are refused.
func TestS3KeysRotate(t *testing.T) {
	m := startMinIO(t, false)
	m.bucket(t, "rotate", minio.MakeBucketOptions{})
	dir := t.TempDir()
	one, access, secret := filepath.Join(dir, "aws"), filepath.Join(dir, "access"), filepath.Join(dir, "secret")
	write := func(user, password string) {
		t.Helper()
		aws := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", user, password)
		for name, text := range map[string]string{one: aws, access: user + "\n", secret: password + "\n"} {
			must(t, os.WriteFile(name, []byte(text), 0o600))
		}
	}
	for name, change := range map[string]func(*store.S3Options){
		"one file":  func(c *store.S3Options) { c.CredentialsFile = one },
		"two files": func(c *store.S3Options) { c.AccessKeyFile, c.SecretKeyFile = access, secret },
	} {
		write("old", "old-password")
		c := m.config("rotate")
		c.AccessKey, c.SecretKey = "", ""
		change(&c)
		s := openS3(t, c)
		if err := s.Put(t.Context(), "x", []byte("x"), store.PutOptions{}); err == nil {
			t.Fatalf("%s: the old keys are taken", name)
		}
		write(testUser, testPassword)
		put(t, s, "x", "y")
		if got := keysOf(t, s, ""); len(got) != 1 || got[0] != "x" {
			t.Errorf("%s: listed %v", name, got)
		}
	}
}

func TestS3KeysFromTheEnvironment(t *testing.T) {
	m := startMinIO(t, false)
	m.bucket(t, "env", minio.MakeBucketOptions{})
	t.Setenv("AWS_ACCESS_KEY_ID", testUser)
	t.Setenv("AWS_SECRET_ACCESS_KEY", testPassword)
	c := m.config("env")
	c.AccessKey, c.SecretKey = "", ""
	put(t, openS3(t, c), "x", "y")
}

func TestS3Config(t *testing.T) {
	good := store.S3Options{Endpoint: "127.0.0.1:9000", Bucket: "b"}
	for _, tt := range []struct {
		name   string
		change func(*store.S3Options)
		want   string
	}{
		{"no endpoint", func(c *store.S3Options) { c.Endpoint = "" }, "required"},
		{"no bucket", func(c *store.S3Options) { c.Bucket = "" }, "required"},
		{"a scheme", func(c *store.S3Options) { c.Endpoint = "https://s3.example.com" }, "without a scheme"},
		{"half a pair of keys", func(c *store.S3Options) { c.AccessKey = "x" }, "belong together"},
		{"prefix without slash", func(c *store.S3Options) { c.Prefix = "casts" }, "slash"},
		{"prefix that climbs", func(c *store.S3Options) { c.Prefix = "../" }, "valid key"},
		{"unknown sse", func(c *store.S3Options) { c.SSE = "rot13" }, "s3 or kms"},
		{"no ca file", func(c *store.S3Options) { c.CAFile = "/nonexistent" }, "ca_file"},
		{"ca file without certificate", func(c *store.S3Options) { c.CAFile = os.DevNull }, "no certificate"},
	} {
		c := good
		tt.change(&c)
		if _, err := store.OpenS3(t.Context(), c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := store.OpenS3(t.Context(), good); err != nil {
		t.Error(err)
	}
}
