package store_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/sallyport-ssh/sallyport/certs/devidp"
	"github.com/sallyport-ssh/sallyport/integration/real"
	"github.com/sallyport-ssh/sallyport/replay/store"
)

// TestS3Encryption: the server says that it encrypts, and with which key.
func TestS3Encryption(t *testing.T) {
	m := real.StartMinIO(t, true) // MinIO takes SSE over TLS alone
	m.Bucket(t, "sse", minio.MakeBucketOptions{})
	for sse, want := range map[string]string{"s3": "AES256", "kms": "aws:kms"} {
		c := config(m, "sse")
		c.SSE, c.KMSKeyID = sse, map[string]string{"kms": "test"}[sse]
		s := openS3(t, c)
		put(t, s, "key-"+sse, "x")
		o, err := s.Stat(t.Context(), "key-"+sse)
		must(t, err)
		if o.Encryption != want || sse == "kms" && !strings.HasSuffix(o.KMSKeyID, "test") {
			t.Errorf("%s: encrypted with %q, key %q", sse, o.Encryption, o.KMSKeyID)
		}
	}
}

// TestS3Purge: all versions go, but for those that a lock or a hold keeps.
func TestS3Purge(t *testing.T) {
	m := real.StartMinIO(t, false)
	m.Bucket(t, "purge", minio.MakeBucketOptions{ObjectLocking: true})
	s := openS3(t, config(m, "purge"))
	put(t, s, "a/twice", "old")
	put(t, s, "a/twice", "new")
	put(t, s, "a/twice-not-me", "x")
	must(t, s.Delete(t.Context(), "a/twice")) // leaves a mark, and both versions
	must(t, s.Purge(t.Context(), "a/twice"))
	var left []string
	for o := range m.Admin(t).ListObjects(t.Context(), "purge", minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
		left = append(left, o.Key)
	}
	if len(left) != 1 || left[0] != "casts/a/twice-not-me" {
		t.Errorf("left: %v", left)
	}
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	for name, o := range map[string]store.PutOptions{
		"locked": {RetainUntil: until}, "held": {LegalHold: true}, "governed": {RetainUntil: until, Governance: true},
	} {
		must(t, s.Put(t.Context(), name, []byte("x"), o))
		var kept *store.RetainedError
		if err := s.Purge(t.Context(), name); !errors.As(err, &kept) || !errors.Is(err, store.ErrRetained) {
			t.Fatalf("%s: purge: %v", name, err)
		}
		if kept.LegalHold != o.LegalHold || !kept.Until.Equal(o.RetainUntil) {
			t.Errorf("%s: kept by %+v, want %+v", name, kept, o)
		}
		if got, err := get(t, s, name); got != "x" {
			t.Errorf("%s: after a purge that was refused: %q, %v", name, got, err)
		}
		if found, err := s.Stat(t.Context(), name); err != nil || !found.Retained(time.Now()) {
			t.Errorf("%s: stat says %+v, %v", name, found, err)
		}
	}
}

// TestS3WebIdentity: a workload's token becomes keys, by a real provider and a real store.
func TestS3WebIdentity(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	issuer := "http://" + l.Addr().String() + "/oidc"
	idp, err := devidp.New(devidp.Options{
		Issuer: issuer, Dir: filepath.Join(t.TempDir(), "idp"), Users: []devidp.User{{Name: "gate", Email: "gate@example.com", Groups: []string{"readwrite"}}},
	})
	must(t, err)
	provider := &httptest.Server{Listener: l, Config: &http.Server{Handler: idp}}
	provider.Start()
	t.Cleanup(provider.Close)

	t.Setenv("MINIO_IDENTITY_OPENID_CONFIG_URL", issuer+"/.well-known/openid-configuration")
	t.Setenv("MINIO_IDENTITY_OPENID_CLIENT_ID", "sallyport")
	t.Setenv("MINIO_IDENTITY_OPENID_CLAIM_NAME", "groups") // the policy of that name
	m := real.StartMinIO(t, false)
	m.Bucket(t, "workload", minio.MakeBucketOptions{})

	token, err := idp.Token(context.Background(), "gate", "sallyport")
	must(t, err)
	c := config(m, "workload")
	c.AccessKey, c.SecretKey = "", ""
	c.WebIdentity = &store.WebIdentity{TokenFile: filepath.Join(t.TempDir(), "token")}
	s := openS3(t, c)
	if err := s.Put(t.Context(), "x", []byte("x"), store.PutOptions{}); err == nil || !strings.Contains(err.Error(), "web_identity") {
		t.Errorf("without a token: %v", err)
	}
	must(t, os.WriteFile(c.WebIdentity.TokenFile, []byte("not a token\n"), 0o600))
	if err := s.Put(t.Context(), "x", []byte("x"), store.PutOptions{}); err == nil || strings.Contains(err.Error(), "not a token") {
		t.Errorf("with nonsense for a token: %v", err)
	}
	must(t, os.WriteFile(c.WebIdentity.TokenFile, []byte(token+"\n"), 0o600))
	put(t, s, "x", "by its own identity")
	if got, err := get(t, s, "x"); got != "by its own identity" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestS3IAMRole: keys come from a cloud's metadata service, here one that speaks EC2's second protocol.
func TestS3IAMRole(t *testing.T) {
	m := real.StartMinIO(t, false)
	m.Bucket(t, "role", minio.MakeBucketOptions{})
	meta := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const roles = "/latest/meta-data/iam/security-credentials/"
		switch r.URL.Path {
		case "/latest/api/token":
			_, _ = w.Write([]byte("session"))
		case roles:
			_, _ = w.Write([]byte("gate\n"))
		case roles + "gate":
			_, _ = w.Write([]byte(`{"Code":"Success","AccessKeyId":"` + real.User + `","SecretAccessKey":"` + real.Password +
				`","Expiration":"` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"}`))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(meta.Close)
	for _, name := range []string{"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
		t.Setenv(name, "")
	}
	c := config(m, "role")
	c.AccessKey, c.SecretKey, c.IAM = "", "", &store.IAM{Endpoint: meta.URL}
	put(t, openS3(t, c), "x", "y")
}
