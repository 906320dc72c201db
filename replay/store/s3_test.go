package store_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/sallyport-ssh/sallyport/integration/real"
	"github.com/sallyport-ssh/sallyport/replay/store"
)

// config is how the product would be told of a bucket.
func config(s *real.MinIO, bucket string) store.S3Options {
	return store.S3Options{
		Endpoint: s.Addr, Bucket: bucket, Prefix: "casts/", AccessKey: real.User, SecretKey: real.Password,
		PathStyle: true, Plaintext: s.CA == "", CAFile: s.CA, Timeout: 10 * time.Second,
	}
}

func openS3(t testing.TB, c store.S3Options) *store.S3 {
	t.Helper()
	s, err := store.OpenS3(t.Context(), c)
	must(t, err)
	return s
}

func TestS3(t *testing.T) {
	m := real.StartMinIO(t, false)
	m.Bucket(t, "plain", minio.MakeBucketOptions{})
	suite(t, openS3(t, config(m, "plain")))
}

func TestS3OverTLS(t *testing.T) {
	m := real.StartMinIO(t, true)
	m.Bucket(t, "tls", minio.MakeBucketOptions{Region: "eu-central-1"})
	for _, sse := range []string{"", "s3", "kms"} {
		c := config(m, "tls")
		c.SSE, c.KMSKeyID = sse, map[string]string{"kms": "test"}[sse]
		s := openS3(t, c)
		key := "sse-" + sse + "x"
		put(t, s, key, "sealed")
		if got, err := get(t, s, key); got != "sealed" {
			t.Errorf("sse %q: got %q, %v", sse, got, err)
		}
	}
	stranger := config(m, "tls")
	stranger.CAFile = ""
	err := openS3(t, stranger).Put(t.Context(), "x", []byte("x"), store.PutOptions{})
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
}

func TestS3Retention(t *testing.T) {
	m := real.StartMinIO(t, false)
	m.Bucket(t, "locked", minio.MakeBucketOptions{ObjectLocking: true})
	s := openS3(t, config(m, "locked"))
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	must(t, s.Put(t.Context(), "kept", []byte("x"), store.PutOptions{RetainUntil: until, LegalHold: true}))
	mode, at, err := m.Admin(t).GetObjectRetention(t.Context(), "locked", "casts/kept", "")
	must(t, err)
	if *mode != minio.Compliance || !at.Equal(until) {
		t.Errorf("retained %s until %v, want %v", *mode, at, until)
	}
	hold, err := m.Admin(t).GetObjectLegalHold(t.Context(), "locked", "casts/kept", minio.GetObjectLegalHoldOptions{})
	if err != nil || *hold != minio.LegalHoldEnabled {
		t.Errorf("legal hold = %v, %v", hold, err)
	}
}

// TestS3Faults: each fault is an error in good time, and over when the fault is.
func TestS3Faults(t *testing.T) {
	m := real.StartMinIO(t, false)
	m.Bucket(t, "faults", minio.MakeBucketOptions{})
	c := config(m, "faults")
	s := openS3(t, c)
	put(t, s, "before", "x")
	fails := func(what string, s *store.S3) {
		t.Helper()
		err := s.Put(t.Context(), "x", []byte("x"), store.PutOptions{})
		if err == nil || errors.Is(err, store.ErrNotExist) {
			t.Errorf("%s: put: %v", what, err)
		}
		if err != nil && strings.Contains(err.Error(), real.Password) {
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

	m.Stop()
	fails("stopped", s)
	m.Start(t)
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
	m := real.StartMinIO(t, false)
	m.Bucket(t, "rotate", minio.MakeBucketOptions{})
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
		c := config(m, "rotate")
		c.AccessKey, c.SecretKey = "", ""
		change(&c)
		s := openS3(t, c)
		if err := s.Put(t.Context(), "x", []byte("x"), store.PutOptions{}); err == nil {
			t.Fatalf("%s: the old keys are taken", name)
		}
		write(real.User, real.Password)
		put(t, s, "x", "y")
		if got := keysOf(t, s, ""); len(got) != 1 || got[0] != "x" {
			t.Errorf("%s: listed %v", name, got)
		}
	}
}

func TestS3KeysFromTheEnvironment(t *testing.T) {
	m := real.StartMinIO(t, false)
	m.Bucket(t, "env", minio.MakeBucketOptions{})
	t.Setenv("AWS_ACCESS_KEY_ID", real.User)
	t.Setenv("AWS_SECRET_ACCESS_KEY", real.Password)
	c := config(m, "env")
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
